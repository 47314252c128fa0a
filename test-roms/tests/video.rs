//! Every standard mode, Mode X and VBE modes, set by a BIOS and filled by a program: the picture
//! is what the manual says it must be, pixel by pixel.

mod board;

use board::{Board, Firmware, Out, color, pattern, scattered};

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

/// What a pixel of these bytes shows in a mode of the Bochs interface.
fn direct(bytes: &[u32], depth: usize) -> u32 {
    // Five or six bits become eight by repeating the highest ones.
    let wide = |value: u32, bits: u32| {
        let value = value & ((1 << bits) - 1);
        let repeated = value << (8 - bits) | value >> (2 * bits - 8);
        assert!(repeated.abs_diff(value * 255 / ((1 << bits) - 1)) <= 1);
        repeated
    };
    match *bytes {
        [index] => color(index as u8),
        [low, high] => {
            let value = low | high << 8;
            let green = if depth == 15 { 5 } else { 6 };
            wide(value >> (5 + green), 5) << 16 | wide(value >> 5, green) << 8 | wide(value, 5)
        }
        [blue, green, red, ..] => red << 16 | green << 8 | blue,
        _ => 0,
    }
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
            direct(&bytes, depth)
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

/// A mode as the VBE functions 00h and 01h list it: number, width, height, depth, bytes of a line,
/// address of the linear framebuffer. What the BIOS does not support is left out.
type VbeMode = (u16, usize, usize, usize, usize, u32);

fn listed_modes(board: &mut Board) -> Vec<VbeMode> {
    const BUFFER: u16 = 0x9000;
    let word = |bytes: &[u8], at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let mut info = [0; 512];
    board.0.write_memory(BUFFER.into(), b"VBE2");
    assert_eq!(board.int_10([0x4f00, 0, 0, 0, BUFFER, 0])[0], 0x004f);
    board.0.read_memory(BUFFER.into(), &mut info);
    assert_eq!((&info[..4], word(&info, 4) >= 0x0200), (&b"VESA"[..], true));
    let list = u64::from(word(&info, 0x10)) * 16 + u64::from(word(&info, 0x0e));
    let mut numbers = [0; 512];
    board.0.read_memory(list, &mut numbers);
    let numbers = numbers.chunks_exact(2).map(|number| word(number, 0)).take_while(|number| *number != 0xffff);
    let mut modes = Vec::new();
    for number in numbers.collect::<Vec<_>>() {
        assert_eq!(board.int_10([0x4f01, 0, number, 0, BUFFER, 0])[0], 0x004f, "mode {number:x}");
        board.0.read_memory(BUFFER.into(), &mut info);
        // Supported, a graphics mode, with a linear framebuffer. SeaBIOS lists 13h as well.
        if word(&info, 0) & 0x91 == 0x91 && number >= 0x100 {
            // A pixel of 15 bits is one of 16 with five bits of green.
            let depth = usize::from(info[0x19]) - usize::from(info[0x19] == 16 && info[0x21] == 5);
            let address = u32::from(word(&info, 0x28)) | u32::from(word(&info, 0x2a)) << 16;
            let (width, height) = (word(&info, 0x12).into(), word(&info, 0x14).into());
            modes.push((number, width, height, depth, word(&info, 0x10).into(), address));
        }
    }
    modes
}

/// Every mode that the BIOS lists is set and has its size; the smallest and the largest of each
/// depth are filled through the linear framebuffer.
fn linear_modes(firmware: Firmware) {
    let Some(mut board) = Board::boot(firmware) else { return };
    let modes = listed_modes(&mut board);
    let mut filled = Vec::new();
    for depth in [8, 15, 16, 24, 32] {
        let of_depth = || modes.iter().filter(|mode| mode.3 == depth && mode.1 >= 640);
        let area = |mode: &&VbeMode| mode.1 * mode.2;
        filled.extend(of_depth().min_by_key(area).map(|mode| mode.0));
        filled.extend(of_depth().max_by_key(area).map(|mode| mode.0));
    }
    assert_eq!(filled.len(), 10, "{modes:?}");
    let largest = modes.iter().map(|mode| (mode.1, mode.2)).max();
    assert_eq!(largest, Some((2560, 1600)));
    for (number, width, height, depth, pitch, address) in modes {
        let what = format!("mode {number:x}, {width} by {height} by {depth}");
        assert_eq!(board.int_10([0x4f02, number | 0x4000, 0, 0, 0, 0])[0], 0x004f, "{what}");
        if !filled.contains(&number) {
            let picture = board.0.picture();
            assert_eq!((picture.width, picture.height), (width, height), "{what}");
            continue;
        }
        board.colors();
        board.fill_linear(address, pitch * height);
        let size = depth.div_ceil(8);
        compare(&mut board, &what, (width, height), |x, y| {
            let first = y * pitch + x * size;
            let bytes = [0, 1, 2, 3].map(|byte| u32::from(scattered(first + byte)));
            direct(&bytes[..size], depth)
        });
    }
}

#[test]
fn linear_modes_of_the_own_bios() {
    linear_modes(Firmware::Own);
}
#[test]
fn linear_modes_of_seabios() {
    linear_modes(Firmware::SeaBios);
}

/// A longer line than is shown, another start (VBE functions 06h and 07h), eight bits of each
/// colour in the DAC (08h, 09h).
fn a_window_on_a_larger_picture(firmware: Firmware) {
    let Some(mut board) = Board::boot(firmware) else { return };
    let modes = listed_modes(&mut board);
    let (number, .., address) =
        *modes.iter().find(|mode| (mode.1, mode.2, mode.3) == (640, 480, 8)).expect("mode 101h");
    assert_eq!(board.int_10([0x4f02, number | 0x4000, 0, 0, 0, 0])[0], 0x004f);
    let line = board.int_10([0x4f06, 0, 800, 0, 0, 0]);
    assert_eq!((line[0], line[1], line[2]), (0x004f, 800, 800));
    board.fill_linear(address, 800 * 700);
    assert_eq!(board.int_10([0x4f07, 0, 72, 130, 0, 0])[0], 0x004f);
    board.colors();
    let at = |x: usize, y: usize| scattered((y + 130) * 800 + x + 72);
    compare(&mut board, "six bits", (640, 480), |x, y| color(at(x, y)));
    // Eight bits; entry n is n, 255 - n, n ^ 55h.
    let wide = board.int_10([0x4f08, 0x0800, 0, 0, 0, 0]);
    assert_eq!((wide[0], wide[1] >> 8), (0x004f, 8));
    let mut writes = vec![Out::Byte(0x3c8, 0)];
    for n in 0..=255u8 {
        writes.extend([n, 255 - n, n ^ 0x55].map(|level| Out::Byte(0x3c9, level)));
    }
    board.out(&writes);
    let eight = |n: u8| u32::from_be_bytes([0, n, 255 - n, n ^ 0x55]);
    compare(&mut board, "eight bits", (640, 480), |x, y| eight(at(x, y)));
    // Function 09h takes blue first. SeaBIOS does not have it.
    if firmware == Firmware::SeaBios {
        return;
    }
    let entry: Vec<u8> = (0..16).flat_map(|n| [n * 3, n * 5, n * 7, 0]).collect();
    board.0.write_memory(0x9000, &entry);
    assert_eq!(board.int_10([0x4f09, 0, 16, 240, 0x9000, 0])[0], 0x004f);
    compare(&mut board, "function 09h", (640, 480), |x, y| match at(x, y) {
        n @ 240.. => u32::from_be_bytes([0, (n - 240) * 7, (n - 240) * 5, (n - 240) * 3]),
        n => eight(n),
    });
}

#[test]
fn a_window_on_a_larger_picture_by_the_own_bios() {
    a_window_on_a_larger_picture(Firmware::Own);
}
#[test]
fn a_window_on_a_larger_picture_by_seabios() {
    a_window_on_a_larger_picture(Firmware::SeaBios);
}

/// Registers of the attribute controller.
fn attribute(writes: &[(u8, u8)]) -> Vec<Out> {
    let mut out = vec![Out::Read(0x3da)];
    out.extend(writes.iter().flat_map(|(index, value)| [Out::Byte(0x3c0, index | 0x20), Out::Byte(0x3c0, *value)]));
    out
}

/// Characters of 8 dots and 50 rows, the ninth dot, two fonts at once, cursor shapes, blinking.
#[test]
fn text_in_its_variants() {
    let Some(mut board) = Board::boot(Firmware::Own) else { return };
    let font = |code: u8, line: usize| code ^ (line * 17) as u8;
    // 8 by 8 characters by the BIOS, 8 dots wide: Sequencer register 1.
    board.mode(3);
    board.int_10([0x1112, 0, 0, 0, 0, 0]);
    let lines = board.0.text_screen().map(|screen| (screen.columns, screen.rows, screen.character_height));
    assert_eq!(lines, Some((80, 50, 8)));
    board.text(0xb800, 50 * 80);
    let mut writes = vec![Out::Word(0x3c4, 0x0101)];
    // No panning: with 8 dots, 8 is none no more.
    writes.extend(attribute(&[(0x13, 0)]));
    board.out(&writes);
    // A font of 8 lines that can be computed.
    let bytes: Vec<u8> = (0..=255).flat_map(|code| (0..8).map(move |line| font(code, line))).collect();
    board.0.write_memory(0x2000, &bytes);
    board.int_10([0x1100, 0x0800, 256, 0, 0, 0x2000]);
    // The cursor is back.
    board.int_10([0x0100, 0, 0x2000, 0, 0, 0]);
    compare(&mut board, "50 rows", (640, 400), |x, y| {
        let code = (y / 8 * 80 + x / 8) as u8;
        let back = if code & 1 == 0 { 1 } else { 6 };
        color(if font(code, y % 8) >> (7 - x % 8) & 1 != 0 { 14 } else { back })
    });

    // Attribute bit 3 chooses between two fonts: the second, in table 1, is the first inverted.
    board.mode(3);
    let bytes: Vec<u8> = (0..=255).flat_map(|code| (0..16).map(move |line| !font(code, line))).collect();
    board.0.write_memory(0x2000, &bytes);
    board.int_10([0x1100, 0x1001, 256, 0, 0, 0x2000]);
    board.int_10([0x1103, 0x0004, 0, 0, 0, 0]);
    board.text(0xb800, 25 * 80);
    // A row of 55h in colour 6, which has bit 3 clear: table 0.
    board.int_10([0x0200, 0, 0, 10 << 8, 0, 0]);
    board.int_10([0x0955, 0x0026, 80, 0, 0, 0]);
    let dot = |x: usize, y: usize, line_graphics: bool| {
        let (column, dot) = (x / 9, x % 9);
        let (code, line, front, back) = match y / 16 {
            10 => (0x55, font(0x55, y % 16), 6, 2),
            row => {
                let code = (row * 80 + column) as u8;
                (code, !font(code, y % 16), 14, if code & 1 == 0 { 1 } else { 6 })
            }
        };
        let set = match dot {
            8 => line_graphics && (0xc0..=0xdf).contains(&code) && line & 1 != 0,
            _ => line >> (7 - dot) & 1 != 0,
        };
        color(if set { front } else { back })
    };
    compare(&mut board, "two fonts", (720, 400), |x, y| dot(x, y, true));
    board.out(&attribute(&[(0x10, 0)]));
    compare(&mut board, "no line graphics", (720, 400), |x, y| dot(x, y, false));

    // The cursor: lines 3 to 9 of the cell at 40,12, in the character's colour, every other 8
    // frames. It has no second font, and characters do not blink.
    board.mode(3);
    board.text(0xb800, 25 * 80);
    board.int_10([0x0200, 0, 0, 12 << 8 | 40, 0, 0]);
    board.out(&[Out::Word(0x3d4, 0x030a), Out::Word(0x3d4, 0x090b)]);
    let in_cursor = |x: usize, y: usize| x / 9 == 40 && (12 * 16 + 3..=12 * 16 + 9).contains(&y);
    let mut seen = Vec::new();
    for _ in 0..64 {
        assert_eq!(board.0.run_for(7_135_000), beigebox::Stop::Done);
        let picture = board.0.picture();
        let on = picture.pixels[(12 * 16 + 3) * 720 + 40 * 9 + 8] == color(14);
        if seen.last().is_none_or(|(last, _)| *last != on) {
            compare(&mut board, "cursor", (720, 400), |x, y| {
                if on && in_cursor(x, y) { color(14) } else { text_dot(x, y, 80, 1) }
            });
            seen.push((on, 0));
        }
        if let Some((_, frames)) = seen.last_mut() {
            *frames += 1;
        }
    }
    // 64 halves of a frame of 14.27 ms: four times 8 frames, cut somewhere.
    assert!(
        (4..=5).contains(&seen.len()) && seen[1..seen.len() - 1].iter().all(|(_, halves)| (15..=17).contains(halves))
    );

    // Blinking: the ground has eight colours, and with bit 7 the character comes and goes.
    board.mode(3);
    board.text(0xb800, 25 * 80);
    board.int_10([0x1003, 1, 0, 0, 0, 0]);
    // A character with attribute 9Eh at 5,0.
    board.int_10([0x0200, 0, 0, 5, 0, 0]);
    board.int_10([0x0900 | 0x41, 0x009e, 1, 0, 0, 0]);
    let mut phases = [0; 2];
    for _ in 0..40 {
        assert_eq!(board.0.run_for(28_540_000), beigebox::Stop::Done);
        let picture = board.0.picture();
        let cell = |x: usize, y: usize| picture.pixels[y * 720 + 45 + x];
        let on = (0..16).any(|y| (0..8).any(|x| cell(x, y) == color(14)));
        phases[usize::from(on)] += 1;
        for (x, y) in (0..16).flat_map(|y| (0..8).map(move |x| (x, y))) {
            let set = on && font(0x41, y) >> (7 - x) & 1 != 0;
            assert_eq!(cell(x, y), color(if set { 14 } else { 1 }), "{x},{y}");
        }
    }
    assert!(phases.iter().all(|frames| (14..=26).contains(frames)), "{phases:?}");
}
