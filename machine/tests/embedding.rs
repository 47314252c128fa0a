//! Machines as values in a program: devices of its own, states kept, threads, texts waited for.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use assembler::{Options, assemble};
use beigebox::custom::{Access, Attachment, Device, Line, Mmio, PortIo, RestoreError, Saved, Time, Width};
use beigebox::{BuildError, Machine, Stop};

fn bios(source: &str) -> Vec<u8> {
    let source =
        format!("org 0\nbits 16\n{source}\ncli\nhlt\ntimes 0fff0h-($-$$) db 0f4h\njmp 0f000h:0\ntimes 11 db 0\n");
    assemble(&source, &Options::default()).unwrap_or_else(|error| panic!("{error}")).bytes
}

/// Port register 0 starts a countdown of as many microseconds; it drives its line until its memory is read.
struct Alarm {
    line: Line,
    due: Option<Time>,
    rung: u32,
}

impl Alarm {
    fn attachment() -> Attachment {
        Attachment::new(|slot| Alarm { line: slot.irq(11), due: None, rung: 0 })
    }
}

impl Device for Alarm {
    fn name(&self) -> &'static str {
        "alarm"
    }
    fn reset(&mut self) {
        (self.due, self.rung) = (None, 0);
        self.line.set(false);
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        if self.due.is_some_and(|due| due <= cx.now) {
            self.due = None;
            self.rung += 1;
            self.line.set(true);
            cx.dma.write(0x5000, &self.rung.to_le_bytes());
        }
    }
    fn next_event(&self) -> Option<Time> {
        self.due
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn mmio(&mut self) -> Option<&mut dyn Mmio> {
        Some(self)
    }
    fn save(&self) -> Saved {
        Saved::of(&(self.due, self.rung, self.line.is_high()))
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let high;
        (self.due, self.rung, high) = state.decode()?;
        self.line.restore_level(high);
        Ok(())
    }
}

impl PortIo for Alarm {
    fn read(&mut self, _: &mut Access<'_>, register: u16, _: Width) -> Option<u32> {
        (register == 1).then_some(self.rung)
    }
    fn write(&mut self, cx: &mut Access<'_>, register: u16, _: Width, value: u32) -> Option<()> {
        (register == 0).then(|| self.due = Some(cx.now.plus(u64::from(value) * 1000)))
    }
}

impl Mmio for Alarm {
    fn read(&mut self, _: &mut Access<'_>, window: u8, offset: u64, _: Width) -> Option<u64> {
        self.line.set(false);
        Some(u64::from(self.rung) << 8 | u64::from(window) << 4 | offset)
    }
    fn write(&mut self, _: &mut Access<'_>, _: u8, _: u64, _: Width, _: u64) -> Option<()> {
        None
    }
}

/// Rings ten times, 50 microseconds apart, and adds up what the window says.
const RINGING: &str = "
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 7000h
        mov word [2bh*4], handler
        mov word [2bh*4+2], cs
        mov si, words
        mov cx, 10
setup:  mov dx, [cs:si]
        mov al, [cs:si+2]
        out dx, al
        add si, 3
        cmp si, words_end
        jb setup
        mov bx, 4000h
        mov es, bx
        xor bp, bp
again:  mov al, 50
        out 0e8h, al
        sti
        hlt
        cli
        loop again
        jmp over
handler: add bp, [es:2]
        mov al, 20h
        out 0a0h, al
        out 20h, al
        iret
words:  dw 20h
        db 11h
        dw 21h
        db 20h
        dw 21h
        db 4
        dw 21h
        db 1
        dw 0a0h
        db 11h
        dw 0a1h
        db 28h
        dw 0a1h
        db 2
        dw 0a1h
        db 1
        dw 21h
        db 0fbh
        dw 0a1h
        db 0f7h
words_end:
over:";

fn ringing() -> Machine {
    let alarm = Alarm::attachment().ports(0xe8..=0xe9).memory(0x8_0000, 0x1000).memory(0x4_0000, 0x1000);
    Machine::builder().memory(2 << 20).bios(bios(RINGING)).device(alarm).build().unwrap()
}

#[test]
fn a_device_of_ones_own_is_one_of_the_board() {
    let mut pc = ringing();
    assert_eq!(pc.run_for(1_000_000_000), Stop::Hang);
    // Window 1, offset 2, and the number of the ring above.
    assert_eq!(pc.cpu().gpr.get(5), (1..=10).map(|n| n << 8 | 0x12).sum::<u64>());
    assert_eq!(pc.with_device(|alarm: &mut Alarm| alarm.rung), Some(10));
    let mut bytes = [0; 4];
    pc.read_memory(0x5000, &mut bytes);
    assert_eq!(u32::from_le_bytes(bytes), 10);
    assert!((500_000..700_000).contains(&pc.now().0), "{}", pc.now().0);
}

#[test]
fn its_state_is_the_machine_s() {
    let (mut one, mut two) = (ringing(), ringing());
    assert_eq!(one.run_for(333_333), Stop::Done);
    let saved = one.save();
    assert_eq!(one.run_for(1_000_000_000), Stop::Hang);
    two.restore(&saved).unwrap();
    assert_eq!(two.with_device(|alarm: &mut Alarm| alarm.rung), Some(6));
    assert_eq!(two.run_for(1_000_000_000), Stop::Hang);
    assert_eq!(one.state_hash(), two.state_hash());
    one.with_device(|alarm: &mut Alarm| alarm.rung += 1);
    assert_ne!(one.state_hash(), two.state_hash());
    // A machine without it is another one.
    let mut plain = Machine::builder().memory(2 << 20).bios(bios(RINGING)).build().unwrap();
    assert!(plain.restore(&saved).is_err());
}

#[test]
fn impossible_places_are_refused() {
    let build = |attachments: Vec<Attachment>| {
        let builder = Machine::builder().memory(2 << 20).bios(bios(""));
        let all = attachments.into_iter().fold(builder, |builder, attachment| builder.device(attachment));
        all.build().map(|_| ())
    };
    let alarm = Alarm::attachment;
    let line = Attachment::new(|slot| Alarm { line: slot.irq(2), due: None, rung: 0 });
    for (attachments, words) in [
        (vec![line], "no interrupt request 2"),
        (vec![alarm().memory(0x8_0100, 0x1000)], "multiples of 4096"),
        (vec![alarm().memory(0x8_0000, 0)], "multiples of 4096"),
        (vec![alarm().memory(!0xfff, 0x2000)], "multiples of 4096"),
        #[allow(clippy::reversed_empty_ranges, reason = "that is what is refused")]
        (vec![alarm().ports(9..=8)], "none"),
        (vec![alarm().ports(8..=9), alarm().ports(9..=9)], "same ports"),
        (vec![alarm().memory(0x8_0000, 0x2000), alarm().memory(0x8_1000, 0x1000)], "same ports or addresses"),
    ] {
        let Err(BuildError::Device(text)) = build(attachments) else { panic!("{words}") };
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn machines_move_between_threads() {
    let threads = [1, 2, 3].map(|_| {
        let mut pc = ringing();
        std::thread::spawn(move || {
            assert_eq!(pc.run_for(1_000_000_000), Stop::Hang);
            pc.state_hash()
        })
    });
    let hashes = threads.map(|thread| thread.join().unwrap());
    assert!(hashes.iter().all(|hash| *hash == hashes[0]));
}

#[test]
fn texts_are_waited_for_on_all_channels() {
    let source = "
        mov dx, 3fbh            ; eight bits
        mov al, 3
        out dx, al
        mov dx, 3f8h
        mov al, 'o'
        out dx, al
        mov al, 'k'
        out dx, al
        mov al, '!'
        out 0e9h, al
        jmp $";
    let mut pc = Machine::builder().memory(2 << 20).bios(bios(source)).build().unwrap();
    let waited = pc.run_until_text(1_000_000_000, "ok");
    assert!(waited.found && waited.stop == Stop::Done && waited.serial_text() == "ok" && waited.debug == b"!");
    let waited = pc.run_until_text(10_000_000, "ok");
    assert!(!waited.found && waited.stop == Stop::Done);
    let mut pc = Machine::builder().memory(2 << 20).bios(bios(&source.replace("jmp $", ""))).build().unwrap();
    let waited = pc.run_until_text(1_000_000_000, "never");
    assert!(!waited.found && waited.stop == Stop::Hang && waited.debug == b"!");
    // The built-in firmware says that there is nothing to boot.
    let mut pc = Machine::builder().memory(4 << 20).build().unwrap();
    assert!(pc.run_until_text(30_000_000_000, "oot").found, "{}", pc.screen_text());
}
