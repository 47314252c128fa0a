//! Every standard mode, Mode X and VBE modes, set by a BIOS and filled by a program: the picture
//! is what the manual says it must be, pixel by pixel.

mod board;

use board::{Board, Firmware, Out, color, pattern};

/// Compares the picture with what `expected` says about each pixel.
fn compare(board: &mut Board, what: &str, size: (usize, usize), expected: impl Fn(usize, usize) -> u32) {
    let picture = board.0.picture();
    assert_eq!((picture.width, picture.height), size, "{what}");
    for y in 0..size.1 {
        for x in 0..size.0 {
            let (shown, wanted) = (picture.pixels[y * size.0 + x], expected(x, y));
            assert_eq!(shown, wanted, "{what}: pixel {x},{y}: {shown:06x} instead of {wanted:06x}");
        }
    }
}

/// A dot of the test's text: `columns` characters of 9 by 16 dots, each dot `wide` pixels.
fn text_dot(x: usize, y: usize, columns: usize, wide: usize) -> u32 {
    let (column, dot) = (x / (9 * wide), x / wide % 9);
    let code = (y / 16 * columns + column) as u8;
    let line = code ^ (y % 16 * 17) as u8;
    let set = match dot {
        8 => (0xc0..=0xdf).contains(&code) && line & 1 != 0,
        _ => line >> (7 - dot) & 1 != 0,
    };
    let attribute = if code & 1 == 0 { 0x1e } else { 0x6e };
    color(if set { attribute & 15 } else { attribute >> 4 })
}

/// Four-bit pixel `x` of a line that begins at plane address `line`.
fn planar(line: usize, x: usize, planes: &[usize]) -> u8 {
    let at = line + x / 8;
    planes.iter().map(|plane| (pattern(at & 0xffff, *plane) >> (7 - x % 8) & 1) << plane).sum()
}

fn fill_planes(board: &mut Board, planes: &[usize]) {
    for plane in planes {
        board.out(&[Out::Word(0x3c4, 0x0102 << plane & 0xff00 | 2)]);
        board.fill(0xa000, 0x1_0000, *plane as u16);
    }
}

type Planar<'a> = (u16, (usize, usize), usize, &'a [usize]);

fn standard_modes(firmware: Firmware) {
    let Some(mut board) = Board::boot(firmware) else { return };
    for (mode, columns) in [(0, 40), (1, 40), (2, 80), (3, 80)] {
        board.mode(mode);
        board.text(0xb800, 25 * columns as u16);
        let wide = 80 / columns;
        compare(&mut board, &format!("mode {mode:x}"), (720, 400), |x, y| text_dot(x, y, columns, wide));
    }
    // The CGA's layout: even lines first, odd lines 8 KiB on.
    for mode in [4, 5, 6] {
        board.mode(mode);
        board.fill(0xb800, 0x4000, 0);
        compare(&mut board, &format!("mode {mode:x}"), (640, 400), |x, y| {
            let (x, y) = (x, y / 2);
            let byte = pattern(y / 2 * 80 + (y & 1) * 0x2000 + x / 8, 0);
            color(if mode == 6 { byte >> (7 - x % 8) & 1 } else { byte >> (6 - x / 2 % 4 * 2) & 3 })
        });
    }
    // Number, size, pixels of a dot, and the planes.
    let planar_modes: [Planar<'_>; 6] = [
        (0x0d, (640, 400), 2, &[0, 1, 2, 3]),
        (0x0e, (640, 400), 1, &[0, 1, 2, 3]),
        (0x0f, (640, 350), 1, &[0, 2]),
        (0x10, (640, 350), 1, &[0, 1, 2, 3]),
        (0x11, (640, 480), 1, &[0]),
        (0x12, (640, 480), 1, &[0, 1, 2, 3]),
    ];
    for (mode, size, wide, planes) in planar_modes {
        board.mode(mode);
        // SeaBIOS enables only the first plane of mode Fh.
        let planes = if mode == 0x0f && firmware == Firmware::SeaBios { &[0] } else { planes };
        fill_planes(&mut board, planes);
        let tall = if size.1 == 400 { 2 } else { 1 };
        let pitch = size.0 / wide / 8;
        compare(&mut board, &format!("mode {mode:x}"), size, |x, y| color(planar(y / tall * pitch, x / wide, planes)));
    }
    board.mode(0x13);
    board.fill(0xa000, 64_000, 0);
    compare(&mut board, "mode 13", (640, 400), |x, y| color(pattern(y / 2 * 320 + x / 2, 0)));
    board.mode(7);
    board.text(0xb000, 25 * 80);
    if firmware == Firmware::SeaBios {
        // It writes the CRTC's registers at 3B4h while they are still at 3D4h, and the palette's
        // flip-flop is at 3DAh for it: what is shown is left to chance.
        assert!(board.0.text_screen().is_some());
    } else {
        compare(&mut board, "mode 7", (720, 400), |x, y| text_dot(x, y, 80, 1));
    }
}

#[test]
fn standard_modes_of_the_own_bios() {
    standard_modes(Firmware::Own);
}
#[test]
fn standard_modes_of_seabios() {
    standard_modes(Firmware::SeaBios);
}

/// Mode 13h without chain-4, the CRTC counting bytes.
const UNCHAIN: [Out; 3] = [Out::Word(0x3c4, 0x0604), Out::Word(0x3d4, 0x0014), Out::Word(0x3d4, 0xe317)];
/// The timing of 480 lines (as in mode 12h), each shown `lines` times.
fn lines_480(lines: u16) -> Vec<Out> {
    let registers = [0x0d06, 0x3e07, 0x4000 | (lines - 1) << 8 | 9, 0xea10, 0xac11, 0xdf12, 0xe715, 0x0616];
    let mut writes = vec![Out::Word(0x3d4, 0x2c11)];
    writes.extend(registers.map(|register| Out::Word(0x3d4, register)));
    writes
}

#[test]
fn mode_x_in_its_variants() {
    let Some(mut board) = Board::boot(Firmware::Own) else { return };
    let wide_360 = [0x6b00, 0x5901, 0x5a02, 0x8e03, 0x5e04, 0x8a05, 0x2d13].map(|register| Out::Word(0x3d4, register));
    // Width, miscellaneous output, times each line is shown, and how 200 lines become more.
    for (width, rows, miscellaneous) in
        [(320, 200, 0x63), (320, 400, 0x63), (320, 240, 0xe3), (320, 480, 0xe3), (360, 200, 0x67), (360, 480, 0xe7)]
    {
        board.mode(0x13);
        board.out(&UNCHAIN);
        match rows {
            400 => board.out(&[Out::Word(0x3d4, 0x4009)]),
            240 => board.out(&lines_480(2)),
            480 => board.out(&lines_480(1)),
            _ => {}
        }
        if width == 360 {
            board.out(&[Out::Word(0x3d4, 0x0e11)]);
            board.out(&wide_360);
        }
        board.out(&[Out::Byte(0x3c2, miscellaneous)]);
        fill_planes(&mut board, &[0, 1, 2, 3]);
        let height = if rows % 240 == 0 { 480 } else { 400 };
        compare(&mut board, &format!("{width} by {rows}"), (width * 2, height), |x, y| {
            let at = y * rows / height * (width / 4) + x / 8;
            color(pattern(at & 0xffff, x / 2 % 4))
        });
    }
}

#[test]
fn split_screen_scrolling_and_panning() {
    let Some(mut board) = Board::boot(Firmware::Own) else { return };
    board.mode(0x13);
    board.out(&UNCHAIN);
    fill_planes(&mut board, &[0, 1, 2, 3]);
    // From plane address 1234h, moved left by 3 pixels, split behind scan line 255: line compare's
    // bit 8 is bit 4 of register 7, bit 9 bit 6 of register 9. Panning ends at the split.
    let attribute =
        [Out::Read(0x3da), Out::Byte(0x3c0, 0x33), Out::Byte(0x3c0, 6), Out::Byte(0x3c0, 0x30), Out::Byte(0x3c0, 0x61)];
    let crtc = [0x120c, 0x340d, 0xff18, 0x0e11, 0x0f07, 0x0109].map(|register| Out::Word(0x3d4, register));
    let mut writes = crtc.to_vec();
    writes.extend(attribute);
    board.out(&writes);
    compare(&mut board, "split", (640, 400), |x, y| {
        let (line, x) = if y > 255 { ((y - 256) / 2 * 80, x) } else { (0x1234 + y / 2 * 80, x + 6) };
        color(pattern(line + x / 8, x / 2 % 4))
    });
    // Text: first shown line is line 5 of the second row, 4 dots to the left.
    board.mode(3);
    board.text(0xb800, 28 * 80);
    let mut writes = [0x000c, 0x500d, 0x0508].map(|register| Out::Word(0x3d4, register)).to_vec();
    writes.extend([Out::Read(0x3da), Out::Byte(0x3c0, 0x33), Out::Byte(0x3c0, 3)]);
    board.out(&writes);
    compare(&mut board, "text", (720, 400), |x, y| {
        // The column that comes in from the right belongs to the next row.
        let (x, y) = (x + 4, y + 5 + 16);
        if x < 720 { text_dot(x, y, 80, 1) } else { text_dot(x - 720, y + 16, 80, 1) }
    });
    assert_eq!(board.0.text_screen().map(|screen| (screen.columns, screen.rows)), Some((80, 26)));
}

fn vbe_modes(firmware: Firmware) {
    let Some(mut board) = Board::boot(firmware) else { return };
    let cases = [(0x101, 640, 480, 8), (0x110, 640, 480, 15), (0x114, 800, 600, 16), (0x115, 800, 600, 24)];
    let more = [(0x142, 640, 480, 32), (0x144, 1024, 768, 32)];
    for (mode, width, height, depth) in cases.into_iter().chain(more) {
        let bytes = width * height * usize::div_ceil(depth, 8);
        assert_eq!(board.vbe(mode, bytes.div_ceil(0x1_0000)), 0x004f, "mode {mode:x}");
        compare(&mut board, &format!("mode {mode:x}"), (width, height), |x, y| {
            let size = depth.div_ceil(8);
            let first = (y * width + x) * size;
            let bytes: Vec<u32> = (first..first + size).map(|at| u32::from(pattern(at & 0xffff, at >> 16))).collect();
            let part = |value: u32, bits: u32| (value & ((1 << bits) - 1)) * 255 / ((1 << bits) - 1);
            // Five or six bits become eight by repeating the highest ones.
            let wide = |value: u32, bits: u32| {
                let value = value & ((1 << bits) - 1);
                let repeated = value << (8 - bits) | value >> (2 * bits - 8);
                assert!(repeated.abs_diff(part(value, bits)) <= 1);
                repeated
            };
            match depth {
                8 => color(bytes[0] as u8),
                15 => {
                    let value = bytes[0] | bytes[1] << 8;
                    wide(value >> 10, 5) << 16 | wide(value >> 5, 5) << 8 | wide(value, 5)
                }
                16 => {
                    let value = bytes[0] | bytes[1] << 8;
                    wide(value >> 11, 5) << 16 | wide(value >> 5, 6) << 8 | wide(value, 5)
                }
                _ => bytes[2] << 16 | bytes[1] << 8 | bytes[0],
            }
        });
    }
}

#[test]
fn vbe_modes_of_the_own_bios() {
    vbe_modes(Firmware::Own);
}
#[test]
fn vbe_modes_of_seabios() {
    vbe_modes(Firmware::SeaBios);
}
