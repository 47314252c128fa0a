//! Boots a ROM and asserts what it prints: a firmware test of a few lines.
//!
//! ```sh
//! cargo run --release -p beigebox --example assert_output
//! ```

use beigebox::{Machine, Stop};

/// A system BIOS of 64 KiB: prints a line to the debug console and over the serial line, and gives its
/// verdict by the exit port.
fn rom() -> Vec<u8> {
    let source = "
        org 0
        bits 16
start:  mov ax, cs
        mov ds, ax
        mov si, text
next:   lodsb
        test al, al
        jz done
        out 0e9h, al
        mov dx, 3f8h
        out dx, al
        jmp next
done:   mov al, 10h
        out 0f4h, al
text    db 'all is well', 10, 0
        times 0fff0h-($-$$) db 0
        jmp 0f000h:start
        times 11 db 0
";
    match assembler::assemble(source, &assembler::Options::default()) {
        Ok(rom) => rom.bytes,
        Err(error) => unreachable!("{error}"),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut pc = Machine::builder().memory(2 << 20).bios(rom()).build()?;
    let waited = pc.run_until_text(1_000_000_000, "well");
    assert!(waited.found, "{:?}", waited.stop);
    // The text and the verdict may come together. One second of guest time is plenty; a guest that hangs ends
    // the run as well.
    let stop = if waited.stop == Stop::Done { pc.run_for(1_000_000_000) } else { waited.stop };
    assert_eq!(stop, Stop::Exit(0x10));
    print!("{}", String::from_utf8_lossy(&waited.debug));
    println!("{} instructions, state {:032x}", pc.counters().instructions, pc.state_hash());
    Ok(())
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
