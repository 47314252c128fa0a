//! Two machines in one process, connected by their serial ports.
//!
//! ```sh
//! cargo run --release -p beigebox --example two_machines
//! ```
//!
//! Each runs on a thread of its own, because a machine is `Send` and shares nothing. They meet after
//! every millisecond of guest time and exchange what was sent, so that the result does not depend on the
//! host: a byte arrives in the millisecond after the one in which it was sent.

use beigebox::{Machine, Stop};

const SLICE: u64 = 1_000_000;

/// Sends numbers from 1 to 9 and adds up what comes back.
const ASKS: &str = "
start:  xor bx, bx
        mov ss, bx
        mov sp, 7000h
        call set_up
        mov cl, 1
next:   mov al, cl
        call send
        call receive
        mov ah, 0
        add bx, ax
        inc cl
        cmp cl, 10
        jb next
        mov al, bl
        out 0f4h, al
";
/// Sends back the square of each.
const ANSWERS: &str = "
start:  xor ax, ax
        mov ss, ax
        mov sp, 7000h
        call set_up
again:  call receive
        mul al
        call send
        jmp again
";
const SERIAL: &str = "
set_up: mov dx, 3fbh            ; eight bits
        mov al, 3
        out dx, al
        ret
send:   push ax
        mov dx, 3fdh
.wait:  in al, dx
        test al, 20h
        jz .wait
        pop ax
        mov dx, 3f8h
        out dx, al
        ret
receive: mov dx, 3fdh
.wait:  in al, dx
        test al, 1
        jz .wait
        mov dx, 3f8h
        in al, dx
        ret
        times 0fff0h-($-$$) db 0
        jmp 0f000h:start
        times 11 db 0
";

fn machine(program: &str) -> Result<Machine, Box<dyn std::error::Error>> {
    let source = format!("org 0\nbits 16\n{program}\n{SERIAL}");
    let rom = assembler::assemble(&source, &assembler::Options::default()).map_err(|error| error.to_string())?;
    Ok(Machine::builder().memory(2 << 20).bios(rom.bytes).build()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut one, mut two) = (machine(ASKS)?, machine(ANSWERS)?);
    for slice in 0..1000 {
        // Both at once; the scope is where they meet.
        let (stop, other) = std::thread::scope(|scope| {
            let first = scope.spawn(|| one.run_for(SLICE));
            let second = two.run_for(SLICE);
            (first.join().unwrap_or(Stop::Hang), second)
        });
        assert_eq!(other, Stop::Done);
        if let Stop::Exit(sum) = stop {
            assert_eq!(sum, (1..10).map(|n| n * n).sum::<u32>() & 0xff);
            println!("the sum of the squares is {sum} modulo 256, after {slice} milliseconds");
            return Ok(());
        }
        assert_eq!(stop, Stop::Done);
        let (out, back) = (one.serial_output(0), two.serial_output(0));
        two.serial_input(0, &out);
        one.serial_input(0, &back);
    }
    Err("they did not come to an end".into())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
