//! What a frame costs: `cargo run --release -p beigebox-devices --features testing --example frames`.

use devices::device::{Mmio, Width};
use devices::testing::Bench;
use devices::vga::{self, Vga, Viewer};
use std::time::Instant;

const FRAMES: u32 = 300;

fn measure(name: &str, bench: &mut Bench<Vga>, mut change: impl FnMut(&mut Bench<Vga>, u32)) {
    let mut viewer = Viewer::new();
    let mut spent = std::time::Duration::ZERO;
    let mut damaged = 0;
    for number in 0..FRAMES {
        change(bench, number);
        bench.now = bench.now.plus(16_666_667);
        let started = Instant::now();
        let frame = bench.device.frame(&bench.video, bench.now, &mut viewer);
        damaged += frame.damage().map(|part| part.width * part.height).sum::<usize>();
        spent += started.elapsed();
    }
    let each = spent / FRAMES;
    let share = each.as_secs_f64() * 60.0 * 100.0;
    println!("{name}: {each:?} a frame, {share:.2} % of a core at 60 Hz, {} pixels new", damaged / FRAMES as usize);
}

fn indexed(bench: &mut Bench<Vga>, port: u16, values: &[(u8, u8)]) {
    for (index, value) in values {
        bench.write_wide(port - 0x3b0, Width::Word, u32::from(*value) << 8 | u32::from(*index));
    }
}

fn fill(bench: &mut Bench<Vga>, from: usize, bytes: usize, seed: u32) {
    for (at, byte) in bench.video.iter_mut().skip(from).take(bytes).enumerate() {
        *byte = (at as u32).wrapping_mul(seed | 1) as u8;
    }
    bench.device.note_written(from, bytes);
}

fn main() {
    let mut bench = Bench::new(Vga::new(vga::VIDEO_BYTES as u32, None));
    bench.video = vec![0; vga::VIDEO_BYTES];
    // Mode 13h.
    bench.write(0x12, 0x63);
    indexed(&mut bench, 0x3c4, &[(0, 3), (1, 1), (2, 15), (4, 14)]);
    let crtc = [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0x41, 0, 0, 0, 0, 0, 0, 0x9c, 0x0e, 0x8f, 0x28, 0x40, 0x96,
        0xb9, 0xa3, 0xff,
    ];
    let crtc: Vec<(u8, u8)> = crtc.into_iter().enumerate().map(|(at, value)| (at as u8, value)).collect();
    indexed(&mut bench, 0x3d4, &crtc);
    indexed(&mut bench, 0x3ce, &[(5, 0x40), (6, 5), (8, 0xff)]);
    bench.read(0x2a);
    for (index, value) in [(0x10, 0x41), (0x12, 0x0f), (0x20, 0)] {
        bench.write(0x10, index);
        bench.write(0x10, value);
    }
    bench.write(0x18, 0);
    (0..768u32).for_each(|at| bench.write(0x19, at as u8 & 63));
    measure("mode 13h, idle", &mut bench, |_, _| ());
    measure("mode 13h, all pixels change", &mut bench, |bench, number| fill(bench, 0, 64_000, number));
    measure("mode 13h, a sprite moves", &mut bench, |bench, number| {
        for y in 0..16 {
            fill(bench, (number as usize % 150 + y) * 320 + 100, 16, number);
        }
    });
    // Linear modes.
    for (width, height, depth) in [(1024u32, 768u32, 32u32), (800, 600, 16), (2560, 1600, 32)] {
        for (index, value) in [(4, 0), (1, width), (2, height), (3, depth), (4, 0x41)] {
            bench.write_wide(0x30, Width::Word, index);
            bench.write_wide(0x31, Width::Word, value);
        }
        let bytes = (width * height * depth / 8) as usize;
        measure(&format!("{width}x{height}x{depth}, idle"), &mut bench, |_, _| ());
        measure(&format!("{width}x{height}x{depth}, all pixels change"), &mut bench, |bench, number| {
            fill(bench, 0, bytes, number);
        });
        measure(&format!("{width}x{height}x{depth}, one pixel changes"), &mut bench, |bench, number| {
            bench.with(|vga, cx| Mmio::write(vga, cx, vga::FRAMEBUFFER_WINDOW, 4096, Width::Dword, number.into()));
        });
    }
}
