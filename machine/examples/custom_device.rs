//! A device of one's own: a coprocessor that multiplies, at ports and in memory, with an interrupt.
//!
//! ```sh
//! cargo run --release -p beigebox --example custom_device
//! ```

use beigebox::custom::{Access, Attachment, Device, Line, Mmio, PortIo, RestoreError, Saved, Time, Width};
use beigebox::{Machine, Stop};

/// Ports: register 0 takes a factor (the product so far times it), register 4 is the product. Memory:
/// offset 0 is the product. A microsecond after a factor was written it drives its interrupt line, until the product
/// is read at its port.
struct Multiplier {
    interrupt: Line,
    product: u32,
    ready: Option<Time>,
}

impl Device for Multiplier {
    fn name(&self) -> &'static str {
        "multiplier"
    }
    fn reset(&mut self) {
        self.product = 1;
        self.ready = None;
        self.interrupt.set(false);
    }
    fn advance(&mut self, cx: &mut Access<'_>) {
        if self.ready.is_some_and(|ready| ready <= cx.now) {
            self.ready = None;
            self.interrupt.set(true);
        }
    }
    fn next_event(&self) -> Option<Time> {
        self.ready
    }
    fn port_io(&mut self) -> Option<&mut dyn PortIo> {
        Some(self)
    }
    fn mmio(&mut self) -> Option<&mut dyn Mmio> {
        Some(self)
    }
    fn save(&self) -> Saved {
        let Multiplier { interrupt, product, ready } = self;
        Saved::of(&(interrupt.is_high(), *product, *ready))
    }
    fn restore(&mut self, state: &Saved) -> Result<(), RestoreError> {
        let is_high;
        (is_high, self.product, self.ready) = state.decode()?;
        self.interrupt.restore_level(is_high);
        Ok(())
    }
}

impl PortIo for Multiplier {
    fn read(&mut self, _: &mut Access<'_>, register: u16, width: Width) -> Option<u32> {
        if register != 4 || width != Width::Dword {
            return None;
        }
        self.interrupt.set(false);
        Some(self.product)
    }
    fn write(&mut self, cx: &mut Access<'_>, register: u16, width: Width, value: u32) -> Option<()> {
        if register != 0 || width != Width::Dword {
            return None;
        }
        self.product = self.product.wrapping_mul(value);
        self.ready = Some(cx.now.plus(1000));
        Some(())
    }
}

impl Mmio for Multiplier {
    fn read(&mut self, _: &mut Access<'_>, _window: u8, offset: u64, width: Width) -> Option<u64> {
        (offset == 0 && width == Width::Dword).then(|| u64::from(self.product))
    }
    fn write(&mut self, _: &mut Access<'_>, _window: u8, _offset: u64, _width: Width, _value: u64) -> Option<()> {
        None
    }
}

/// Multiplies 1 to 6, waits for the interrupt (IRQ 5) each time, and compares port and memory.
const PROGRAM: &str = "
        org 0
        bits 16
start:  cli
        xor ax, ax
        mov ds, ax
        mov ss, ax
        mov sp, 7000h
        mov word [13*4], handler
        mov word [13*4+2], cs
        mov al, 11h             ; interrupt controller: vectors from 8, only IRQ 5
        out 20h, al
        mov al, 8
        out 21h, al
        mov al, 4
        out 21h, al
        mov al, 1
        out 21h, al
        mov al, 0dfh
        out 21h, al
        mov ecx, 1
next:   mov dx, 640h
        mov eax, ecx
        out dx, eax
        sti
        hlt
        cli
        inc ecx
        cmp ecx, 6
        jbe next
        mov dx, 644h
        in eax, dx
        mov bx, 0d000h
        mov es, bx
        sub eax, [es:0]
        jnz wrong
        mov ax, di              ; interrupts
        out 0f4h, al
wrong:  mov al, 0ffh
        out 0f4h, al
handler: push eax
        push dx
        inc di
        mov dx, 644h            ; which takes the request back
        in eax, dx
        mov al, 20h
        out 20h, al
        pop dx
        pop eax
        iret
        times 0fff0h-($-$$) db 0
        jmp 0f000h:start
        times 11 db 0
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rom = assembler::assemble(PROGRAM, &assembler::Options::default()).map_err(|error| error.to_string())?;
    let device = Attachment::new(|slot| Multiplier { interrupt: slot.irq(5), product: 1, ready: None });
    let device = device.ports(0x640..=0x647).memory(0xd_0000, 0x1000);
    let mut pc = Machine::builder().memory(2 << 20).bios(rom.bytes).device(device).build()?;
    pc.with_cpu(|cpu| cpu.gpr.set(7, 0));
    assert_eq!(pc.run_for(1_000_000_000), Stop::Exit(6), "one interrupt for each factor");
    let product = pc.with_device(|device: &mut Multiplier| device.product);
    assert_eq!(product, Some(720));
    println!("6! is {} after {} ns of guest time", product.unwrap_or_default(), pc.now().0);
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
