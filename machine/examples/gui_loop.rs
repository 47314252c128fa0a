//! A boot sector in the loop of a graphical program: events go in, frames come out.
//!
//! ```sh
//! cargo run --release -p beigebox --example gui_loop            # draws into the void, as a test
//! cargo run --release -p beigebox --example gui_loop FILE.img   # a floppy of yours
//! ```
//!
//! The window is left to you: where this prints a line, a program blits `frame.damage()`. Sixty
//! times a second it passes on what people typed, runs the machine for a sixtieth of a second of guest time
//! and draws what has changed.

use beigebox::display::Viewer;
use beigebox::{Machine, MemoryStorage, Stop};

/// Guest time between two frames.
const FRAME: u64 = 1_000_000_000 / 60;
/// Frames before the program ends by itself.
const LIMIT: u64 = 240;

/// 320 x 200 in 256 colours: bars, and a column more for each key.
const PROGRAM: &str = "
        org 7c00h
        bits 16
        mov ax, 13h
        int 10h
        mov ax, 0a000h
        mov es, ax
        xor di, di
        mov cx, 64000
        xor ax, ax
fill:   stosb
        inc al
        loop fill
        mov dx, 1
again:  mov ah, 0
        int 16h
        mov di, dx
        mov al, 15
        mov cx, 200
column: mov [es:di], al
        add di, 320
        loop column
        inc dx
        jmp again
        times 510-($-$$) db 0
        db 55h, 0aah
";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    match std::env::args().nth(1) {
        Some(path) => play(std::fs::read(path)?).map(|_| ()),
        None => play(sector()?).map(|_| ()),
    }
}

/// The floppy with the program above.
fn sector() -> Result<Vec<u8>, Box<dyn std::error::Error>> {
    let mut image = assembler::assemble(PROGRAM, &assembler::Options::default()).map_err(|e| e.to_string())?.bytes;
    image.resize(1_474_560, 0);
    Ok(image)
}

/// Runs it for [`LIMIT`] frames.
fn play(image: Vec<u8>) -> Result<Machine, Box<dyn std::error::Error>> {
    let mut pc = Machine::builder().memory(4 << 20).floppy(0, Some(Box::new(MemoryStorage::new(image)))).build()?;
    let mut viewer = Viewer::new();
    let (mut drawn, mut pixels) = (0, 0);
    for number in 0..LIMIT {
        // Here a window gives its events: `pc.key(code, pressed)`, `pc.mouse(dx, dy, wheel, buttons)`.
        if number == LIMIT / 2 {
            pc.type_keys("abc")?;
        }
        let stop = pc.run_for(FRAME);
        if stop != Stop::Done {
            println!("the machine has ended: {stop:?}");
            break;
        }
        let frame = pc.frame(&mut viewer);
        if frame.resized {
            println!("frame {number}: {} x {}, shown as {:?}", frame.width, frame.height, frame.display_size());
        }
        if frame.changed() {
            drawn += 1;
            pixels += frame.damage().map(|part| part.width * part.height).sum::<usize>();
        }
        // Here a window waits for the next sixtieth of a second.
    }
    println!("{drawn} frames of {LIMIT} had something new, {pixels} pixels in all");
    Ok(pc)
}

#[test]
fn runs() -> Result<(), Box<dyn std::error::Error>> {
    let picture = play(sector()?)?.picture();
    // 320 by 200 as the monitor shows it; the third key's column is white.
    assert_eq!((picture.width, picture.height), (640, 400));
    assert_eq!(picture.pixels[picture.width * 10 + 6], 0xff_ffff);
    Ok(())
}
