use super::*;
use crate::testing::{Bench, Random};

crate::device_conformance!(conforms, Vga::new(VIDEO_BYTES as u32, Some(0x1_0000)));

/// Registers of a standard mode: miscellaneous, sequencer, CRTC, graphics, attribute.
struct Mode {
    miscellaneous: u8,
    sequencer: [u8; 5],
    crtc: [u8; 25],
    graphics: [u8; 9],
    attribute: [u8; 5],
}

// IBM VGA BIOS parameter tables.
const TEXT: Mode = Mode {
    miscellaneous: 0x67,
    sequencer: [3, 0, 3, 0, 2],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0x00, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28,
        0x1f, 0x96, 0xb9, 0xa3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x10, 0x0e, 0, 0xff],
    attribute: [0x0c, 0, 0x0f, 0x08, 0],
};
const MODE_12: Mode = Mode {
    miscellaneous: 0xe3,
    sequencer: [3, 1, 0x0f, 0, 6],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0, 0x40, 0, 0, 0, 0, 0, 0, 0xea, 0x8c, 0xdf, 0x28, 0, 0xe7,
        0x04, 0xe3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0, 5, 0x0f, 0xff],
    attribute: [1, 0, 0x0f, 0, 0],
};
const MODE_13: Mode = Mode {
    miscellaneous: 0x63,
    sequencer: [3, 1, 0x0f, 0, 0x0e],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0x41, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96,
        0xb9, 0xa3, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x40, 5, 0x0f, 0xff],
    attribute: [0x41, 0, 0x0f, 0, 0],
};
const MODE_4: Mode = Mode {
    miscellaneous: 0x63,
    sequencer: [3, 9, 3, 0, 2],
    crtc: [
        0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x14, 0, 0x96,
        0xb9, 0xa2, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0x30, 0x0f, 0, 0xff],
    attribute: [1, 0, 3, 0, 0],
};
const MODE_6: Mode = Mode {
    miscellaneous: 0x63,
    sequencer: [3, 1, 1, 0, 6],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0, 0x96,
        0xb9, 0xc2, 0xff,
    ],
    graphics: [0, 0, 0, 0, 0, 0, 0x0d, 0, 0xff],
    attribute: [1, 0, 1, 0, 0],
};

fn bench() -> Bench<Vga> {
    let mut bench = Bench::new(Vga::new(VIDEO_BYTES as u32, None));
    bench.video = vec![0; VIDEO_BYTES];
    bench
}

fn indexed(bench: &mut Bench<Vga>, port: u16, index: u8, value: u8) {
    bench.write_wide(port - 0x3b0, Width::Word, u32::from(value) << 8 | u32::from(index));
}

fn set(bench: &mut Bench<Vga>, mode: &Mode) {
    bench.write(0x12, mode.miscellaneous);
    indexed(bench, 0x3d4, 0x11, 0);
    for (index, value) in mode.sequencer.iter().enumerate() {
        indexed(bench, 0x3c4, index as u8, *value);
    }
    for (index, value) in mode.crtc.iter().enumerate() {
        indexed(bench, 0x3d4, index as u8, *value);
    }
    for (index, value) in mode.graphics.iter().enumerate() {
        indexed(bench, 0x3ce, index as u8, *value);
    }
    bench.read(0x2a);
    let palette = (0..16u8).chain(mode.attribute);
    for (index, value) in palette.enumerate() {
        bench.write(0x10, index as u8);
        bench.write(0x10, value);
    }
    bench.write(0x10, 0x20);
    // A DAC whose red is the index.
    bench.write(0x18, 0);
    for index in 0..=255u8 {
        for component in [index & 0x3f, index >> 6, 0] {
            bench.write(0x19, component);
        }
    }
}

fn poke(bench: &mut Bench<Vga>, address: u64, data: &[u8]) {
    for (index, byte) in data.iter().enumerate() {
        let at = address - 0xa_0000 + index as u64;
        bench.with(|vga, cx| Mmio::write(vga, cx, 0, at, Width::Byte, u64::from(*byte)));
    }
}

fn peek(bench: &mut Bench<Vga>, address: u64) -> Option<u8> {
    bench.with(|vga, cx| Mmio::read(vga, cx, 0, address - 0xa_0000, Width::Byte)).map(|byte| byte as u8)
}

fn rendered(bench: &mut Bench<Vga>) -> (usize, usize, Vec<u32>) {
    let frame = bench.device.frame(&bench.video, bench.now, &mut Viewer::new());
    assert_eq!(frame.pixels.len(), frame.width * frame.height);
    (frame.width, frame.height, frame.pixels.to_vec())
}

/// What the test DAC shows for colour `index`.
fn shade(index: u32) -> u32 {
    let full = |c: u32| c << 2 | c >> 4;
    full(index & 0x3f) << 16 | full(index >> 6) << 8
}

#[test]
fn text_can_be_read_and_drawn() {
    let mut bench = bench();
    set(&mut bench, &TEXT);
    poke(&mut bench, 0xb_8000 + 160 + 4, b"H\x1fi\x1f\xc9\x1f");
    indexed(&mut bench, 0x3d4, 0x0f, 85);
    let screen = bench.device.text_screen(&bench.video).unwrap();
    assert_eq!((screen.columns, screen.rows, screen.cursor), (80, 25, Some((5, 1))));
    assert_eq!(screen.row(1), "  Hi╔");
    assert_eq!(screen.cells[82], (b'H', 0x1f));
    assert_eq!(peek(&mut bench, 0xb_80a4), Some(b'H'));
    assert_eq!(peek(&mut bench, 0xa_0000), None);
    // A font for H and for the box character, written to plane 2.
    for (index, value) in [(2, 4), (4, 6)] {
        indexed(&mut bench, 0x3c4, index, value);
    }
    for (index, value) in [(4, 2), (5, 0), (6, 4)] {
        indexed(&mut bench, 0x3ce, index, value);
    }
    poke(&mut bench, 0xa_0000 + 0x48 * 32, &[0x81; 16]);
    poke(&mut bench, 0xa_0000 + 0xc9 * 32, &[0x01; 16]);
    set(&mut bench, &TEXT);
    let (width, height, pixels) = rendered(&mut bench);
    assert_eq!((width, height), (720, 400));
    let row = &pixels[16 * 720..][..720];
    let (front, back) = (shade(15), shade(1));
    assert_eq!(row[18..27], [front, back, back, back, back, back, back, front, back]);
    assert_eq!(row[36 + 7..36 + 9], [front, front], "line graphics reach the ninth dot");
}

#[test]
fn planar_writes_in_all_modes() {
    let mut bench = bench();
    set(&mut bench, &MODE_12);
    poke(&mut bench, 0xa_0000, &[0xf0]);
    assert_eq!(bench.video[..4], [0xf0; 4]);
    // Set/reset of colour 5 through a bit mask.
    for (index, value) in [(0, 5), (1, 15), (8, 0x0f)] {
        indexed(&mut bench, 0x3ce, index, value);
    }
    peek(&mut bench, 0xa_0000);
    poke(&mut bench, 0xa_0000, &[0]);
    assert_eq!(bench.video[..4], [0xff, 0xf0, 0xff, 0xf0]);
    let (width, height, pixels) = rendered(&mut bench);
    assert_eq!((width, height), (640, 480));
    assert_eq!((pixels[0], pixels[7], pixels[8]), (shade(15), shade(5), shade(0)));
    // Write mode 2 and read mode 1.
    for (index, value) in [(1, 0), (8, 0xff), (5, 2)] {
        indexed(&mut bench, 0x3ce, index, value);
    }
    poke(&mut bench, 0xa_0001, &[9]);
    assert_eq!(bench.video[4..8], [0xff, 0, 0, 0xff]);
    for (index, value) in [(5, 8), (2, 5), (7, 15)] {
        indexed(&mut bench, 0x3ce, index, value);
    }
    assert_eq!(peek(&mut bench, 0xa_0000), Some(0x0f));
    // Write mode 1 copies the latches.
    indexed(&mut bench, 0x3ce, 5, 1);
    poke(&mut bench, 0xa_0010, &[0]);
    assert_eq!(bench.video[64..68], [0xff, 0xf0, 0xff, 0xf0]);
    // Write mode 3: data is a mask for set/reset; logic functions against the latches.
    for (index, value) in [(5, 3), (0, 8), (8, 0xff), (3, 0)] {
        indexed(&mut bench, 0x3ce, index, value);
    }
    peek(&mut bench, 0xa_0020);
    poke(&mut bench, 0xa_0020, &[0x18]);
    assert_eq!(bench.video[128..132], [0, 0, 0, 0x18]);
    for (index, value) in [(5, 0), (0, 0), (3, 0x18 | 1)] {
        indexed(&mut bench, 0x3ce, index, value);
    }
    peek(&mut bench, 0xa_0020);
    poke(&mut bench, 0xa_0020, &[0x01]);
    assert_eq!(bench.video[128..132], [0x80, 0x80, 0x80, 0x98], "rotate, then XOR");
}

#[test]
fn chain_four_and_mode_x() {
    let mut bench = bench();
    set(&mut bench, &MODE_13);
    poke(&mut bench, 0xa_0000 + 320, &[0x47, 0x48]);
    assert_eq!(bench.video[320..322], [0x47, 0x48]);
    let (width, height, pixels) = rendered(&mut bench);
    assert_eq!((width, height), (640, 400));
    assert_eq!(pixels[2 * 640..][..4], [shade(0x47), shade(0x47), shade(0x48), shade(0x48)]);
    assert_eq!(pixels[3 * 640], shade(0x47), "every line is shown twice");
    // Unchained: plane 2 of plane address 80; the CRTC counts bytes.
    indexed(&mut bench, 0x3c4, 4, 6);
    indexed(&mut bench, 0x3d4, 0x14, 0);
    indexed(&mut bench, 0x3d4, 0x17, 0xe3);
    indexed(&mut bench, 0x3c4, 2, 4);
    poke(&mut bench, 0xa_0050, &[0x99]);
    assert_eq!(bench.video[320..324], [0x47, 0x48, 0x99, 0]);
    // Line compare restarts at address 0; pel panning moves by a pixel.
    indexed(&mut bench, 0x3d4, 0x0d, 80);
    indexed(&mut bench, 0x3d4, 0x18, 99);
    indexed(&mut bench, 0x3d4, 0x07, 0x0f);
    indexed(&mut bench, 0x3d4, 0x11, 0);
    indexed(&mut bench, 0x3d4, 0x07, 0x0f);
    indexed(&mut bench, 0x3d4, 0x09, 0x01);
    let (_, _, pixels) = rendered(&mut bench);
    assert_eq!(pixels[0], shade(0x47));
    assert_eq!(pixels[100 * 640], shade(0));
    assert_eq!(pixels[102 * 640], shade(0x47));
    bench.read(0x2a);
    bench.write(0x10, 0x33);
    bench.write(0x10, 2);
    let (_, _, pixels) = rendered(&mut bench);
    assert_eq!(pixels[0], shade(0x48));
}

#[test]
fn cga_modes_interleave_their_lines() {
    let mut bench = bench();
    set(&mut bench, &MODE_4);
    poke(&mut bench, 0xb_8000, &[0b0001_1011]);
    poke(&mut bench, 0xb_a000, &[0b1100_0000, 0x40]);
    let (width, height, pixels) = rendered(&mut bench);
    assert_eq!((width, height), (640, 400));
    let line = |y: usize| -> Vec<u32> { pixels[y * 640..][..16].iter().copied().step_by(2).collect() };
    assert_eq!(line(0), [0, 1, 2, 3, 0, 0, 0, 0].map(shade));
    assert_eq!(line(2), [3, 0, 0, 0, 1, 0, 0, 0].map(shade));
    let mut bench = self::bench();
    set(&mut bench, &MODE_6);
    poke(&mut bench, 0xb_8000, &[0x80]);
    poke(&mut bench, 0xb_a000, &[0x40]);
    let (_, _, pixels) = rendered(&mut bench);
    assert_eq!((pixels[0], pixels[1]), (shade(1), shade(0)));
    assert_eq!((pixels[2 * 640], pixels[2 * 640 + 1]), (shade(0), shade(1)));
}

#[test]
fn registers_read_back_and_protect() {
    let mut bench = bench();
    set(&mut bench, &TEXT);
    assert_eq!(bench.read(0x1c), 0x67);
    indexed(&mut bench, 0x3d4, 0, 0x11);
    bench.write(0x24, 0);
    assert_eq!(bench.read(0x25), 0x5f, "protected by register 11h");
    assert_eq!(bench.try_read(4, Width::Byte), None, "the monochrome address is dead");
    bench.write(0x17, 5);
    assert_eq!([bench.read(0x19), bench.read(0x19), bench.read(0x19), bench.read(0x19)], [5, 0, 0, 6]);
    assert_eq!(bench.read(0x17), 3);
}

#[test]
fn retrace_follows_the_raster() {
    let mut bench = bench();
    set(&mut bench, &TEXT);
    let (mut retrace, mut shown, mut edges, mut last) = (0, 0, 0, 0);
    // A second in steps of 10 µs.
    for _ in 0..100_000 {
        bench.now = bench.now.plus(10_000);
        let status = bench.read(0x2a);
        retrace += u32::from(status & 8 != 0);
        shown += u32::from(status & 1 == 0);
        edges += u32::from(status & 8 != 0 && last == 0);
        last = status & 8;
    }
    assert!((69..=71).contains(&edges), "{edges} frames in a second");
    assert!((400..=500).contains(&retrace), "two of 449 lines");
    assert!((60_000..=80_000).contains(&shown));
}

fn dispi(bench: &mut Bench<Vga>, index: u16, value: u16) {
    bench.write_wide(0x30, Width::Word, u32::from(index));
    bench.write_wide(0x31, Width::Word, u32::from(value));
}
fn dispi_read(bench: &mut Bench<Vga>, index: u16) -> u32 {
    bench.write_wide(0x30, Width::Word, u32::from(index));
    bench.try_read(0x31, Width::Word).unwrap()
}

#[test]
fn bochs_modes_in_every_depth() {
    let mut bench = bench();
    set(&mut bench, &MODE_13);
    assert_eq!(dispi_read(&mut bench, 0), 0xb0c5);
    assert_eq!(dispi_read(&mut bench, 0x0a), 256);
    dispi(&mut bench, 4, 2);
    assert_eq!([1, 2, 3].map(|index| dispi_read(&mut bench, index)), [2560, 1600, 32]);
    let cases: [(u16, &[u8], u32); 6] = [
        (8, &[0x47], shade(0x47)),
        (15, &[0x1f, 0x7c], 0x00ff_00ff),
        (16, &[0xe0, 0x07], 0x0000_ff00),
        (24, &[1, 2, 3], 0x0003_0201),
        (32, &[1, 2, 3, 0xff], 0x0003_0201),
        (4, &[0x80, 0, 0x80, 0], shade(5)),
    ];
    for (depth, bytes, color) in cases {
        dispi(&mut bench, 4, 0);
        for (index, value) in [(1, 800), (2, 600), (3, depth), (4, 0x41)] {
            dispi(&mut bench, index, value);
        }
        let at = if depth == 4 { 800 / 8 * 4 } else { 800 * bytes.len() };
        bench.with(|vga, cx| {
            for (index, byte) in bytes.iter().enumerate() {
                Mmio::write(vga, cx, 1, (at + index) as u64, Width::Byte, u64::from(*byte));
            }
        });
        let (width, height, pixels) = rendered(&mut bench);
        assert_eq!((width, height), (800, 600));
        assert_eq!((pixels[0], pixels[800]), (shade(0) * u32::from(depth == 8), color), "depth {depth}");
        // Scrolled by one line.
        dispi(&mut bench, 9, 1);
        assert_eq!(rendered(&mut bench).2[0], color);
    }
    // Bank 1 of a linear mode at A0000h.
    dispi(&mut bench, 4, 0);
    for (index, value) in [(3, 8), (4, 0x41), (5, 1)] {
        dispi(&mut bench, index, value);
    }
    poke(&mut bench, 0xa_0003, &[0x22]);
    assert_eq!(bench.video[0x1_0003], 0x22);
    // The largest mode, and one that does not fit.
    dispi(&mut bench, 4, 0);
    for (index, value) in [(1, 9999), (2, 9999), (3, 32), (4, 0x41)] {
        dispi(&mut bench, index, value);
    }
    let (width, height, _) = rendered(&mut bench);
    assert_eq!((width, height), (2560, 1600));
    bench.video.truncate(1 << 20);
    dispi(&mut bench, 4, 0);
    dispi(&mut bench, 4, 0x41);
    assert_eq!(dispi_read(&mut bench, 4) & 1, 0);
}

#[test]
fn any_register_state_renders() {
    let mut random = Random::new(7);
    for round in 0..300 {
        let mut bench = Bench::new(Vga::new(VIDEO_BYTES as u32, None));
        bench.video = vec![0x5a; [0, 3, 0x1000, 0x4_0000, 0x10_0000][round % 5]];
        bench.write(0x12, 0x67);
        for _ in 0..200 {
            let value = random.bits();
            match value & 7 {
                0 if round & 1 == 0 => dispi(&mut bench, (value >> 8) as u16 & 15, (value >> 16) as u16),
                1 => indexed(&mut bench, 0x3c4, (value >> 8) as u8 & 7, (value >> 16) as u8),
                2 => indexed(&mut bench, 0x3ce, (value >> 8) as u8 & 15, (value >> 16) as u8),
                3 => {
                    bench.write(0x10, (value >> 8) as u8);
                }
                4 => indexed(&mut bench, 0x3d4, 0x11, 0),
                _ => indexed(&mut bench, 0x3d4, (value >> 8) as u8 & 31, (value >> 16) as u8),
            }
        }
        bench.read(0x2a);
        bench.write(0x10, 0x20);
        indexed(&mut bench, 0x3c4, 1, (round & 9) as u8);
        bench.now = Time(random.bits() >> 8);
        let (width, height, _) = rendered(&mut bench);
        assert!(width <= 4608 && height <= 1600);
        let _ = bench.device.text_screen(&bench.video);
    }
}

#[test]
fn code_page_has_256_characters() {
    assert_eq!((unicode(0x7f), unicode(0x80), unicode(0xb3), unicode(0xdb)), ('⌂', 'Ç', '│', '█'));
    assert_eq!((unicode(0xfe), unicode(0xff), unicode(1), unicode(31)), ('■', '\u{a0}', '☺', '▼'));
}
