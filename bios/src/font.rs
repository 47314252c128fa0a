//! The bitmap fonts, drawn here: code page 437 in cells of 8x8, 8x14 and 8x16.
//!
//! Letters and signs are 5x8 dot patterns that each cell height stretches in its own way; accents are put on
//! letters; lines, blocks and shades are computed for the cell.

use std::fmt::Write;

/// Code, then eight rows of five dots (the last is below the baseline).
const DOTS: &str = "
01 0e 11 1b 11 15 11 0e 00|02 0e 1f 15 1f 11 1f 0e 00|03 00 0a 1f 1f 1f 0e 04 00|04 00 04 0e 1f 0e 04 00 00
05 04 0e 04 1f 1f 04 0e 00|06 04 0e 1f 1f 15 04 0e 00|07 00 00 0e 0e 0e 00 00 00|09 00 0e 11 11 11 0e 00 00
0b 07 03 05 0e 11 11 0e 00|0c 0e 11 11 0e 04 0e 04 00|0d 04 06 05 04 0c 1c 18 00|0e 0f 09 0f 09 09 1b 1b 00
0f 15 0e 1b 11 1b 0e 15 00|10 10 18 1c 1e 1c 18 10 00|11 01 03 07 0f 07 03 01 00|12 04 0e 15 04 15 0e 04 00
13 0a 0a 0a 0a 00 0a 0a 00|14 0f 15 15 0d 05 05 05 00|15 0e 10 0e 11 0e 01 0e 00|16 00 00 00 00 1f 1f 1f 00
17 04 0e 15 04 15 0e 04 1f|18 04 0e 15 04 04 04 04 00|19 04 04 04 04 15 0e 04 00|1a 00 04 02 1f 02 04 00 00
1b 00 04 08 1f 08 04 00 00|1c 00 00 10 10 1f 00 00 00|1d 00 0a 11 1f 11 0a 00 00|1e 00 04 04 0e 0e 1f 1f 00
1f 00 1f 1f 0e 0e 04 04 00
21 04 04 04 04 04 00 04 00|22 0a 0a 0a 00 00 00 00 00|23 0a 0a 1f 0a 1f 0a 0a 00|24 04 0f 14 0e 05 1e 04 00
25 18 19 02 04 08 13 03 00|26 0c 12 14 08 15 12 0d 00|27 04 04 08 00 00 00 00 00|28 02 04 08 08 08 04 02 00
29 08 04 02 02 02 04 08 00|2a 00 04 15 0e 15 04 00 00|2b 00 04 04 1f 04 04 00 00|2c 00 00 00 00 00 0c 04 08
2d 00 00 00 1f 00 00 00 00|2e 00 00 00 00 00 0c 0c 00|2f 00 01 02 04 08 10 00 00
30 0e 11 13 15 19 11 0e 00|31 04 0c 04 04 04 04 0e 00|32 0e 11 01 02 04 08 1f 00|33 1f 02 04 02 01 11 0e 00
34 02 06 0a 12 1f 02 02 00|35 1f 10 1e 01 01 11 0e 00|36 06 08 10 1e 11 11 0e 00|37 1f 01 02 04 08 08 08 00
38 0e 11 11 0e 11 11 0e 00|39 0e 11 11 0f 01 02 0c 00|3a 00 0c 0c 00 0c 0c 00 00|3b 00 0c 0c 00 0c 04 08 00
3c 02 04 08 10 08 04 02 00|3d 00 00 1f 00 1f 00 00 00|3e 08 04 02 01 02 04 08 00|3f 0e 11 01 02 04 00 04 00
40 0e 11 01 0d 15 15 0e 00|41 0e 11 11 1f 11 11 11 00|42 1e 11 11 1e 11 11 1e 00|43 0e 11 10 10 10 11 0e 00
44 1c 12 11 11 11 12 1c 00|45 1f 10 10 1e 10 10 1f 00|46 1f 10 10 1e 10 10 10 00|47 0e 11 10 17 11 11 0f 00
48 11 11 11 1f 11 11 11 00|49 0e 04 04 04 04 04 0e 00|4a 07 02 02 02 02 12 0c 00|4b 11 12 14 18 14 12 11 00
4c 10 10 10 10 10 10 1f 00|4d 11 1b 15 15 11 11 11 00|4e 11 11 19 15 13 11 11 00|4f 0e 11 11 11 11 11 0e 00
50 1e 11 11 1e 10 10 10 00|51 0e 11 11 11 15 12 0d 00|52 1e 11 11 1e 14 12 11 00|53 0f 10 10 0e 01 01 1e 00
54 1f 04 04 04 04 04 04 00|55 11 11 11 11 11 11 0e 00|56 11 11 11 11 11 0a 04 00|57 11 11 11 15 15 15 0a 00
58 11 11 0a 04 0a 11 11 00|59 11 11 11 0a 04 04 04 00|5a 1f 01 02 04 08 10 1f 00|5b 0e 08 08 08 08 08 0e 00
5c 00 10 08 04 02 01 00 00|5d 0e 02 02 02 02 02 0e 00|5e 04 0a 11 00 00 00 00 00|5f 00 00 00 00 00 00 00 1f
60 08 04 02 00 00 00 00 00|61 00 00 0e 01 0f 11 0f 00|62 10 10 16 19 11 11 1e 00|63 00 00 0e 10 10 11 0e 00
64 01 01 0d 13 11 11 0f 00|65 00 00 0e 11 1f 10 0e 00|66 06 09 08 1c 08 08 08 00|67 00 00 0f 11 11 0f 01 0e
68 10 10 16 19 11 11 11 00|69 04 00 0c 04 04 04 0e 00|6a 02 00 06 02 02 02 12 0c|6b 10 10 12 14 18 14 12 00
6c 0c 04 04 04 04 04 0e 00|6d 00 00 1a 15 15 11 11 00|6e 00 00 16 19 11 11 11 00|6f 00 00 0e 11 11 11 0e 00
70 00 00 1e 11 11 1e 10 10|71 00 00 0d 13 11 0f 01 01|72 00 00 16 19 10 10 10 00|73 00 00 0e 10 0e 01 1e 00
74 08 08 1c 08 08 09 06 00|75 00 00 11 11 11 13 0d 00|76 00 00 11 11 11 0a 04 00|77 00 00 11 11 15 15 0a 00
78 00 00 11 0a 04 0a 11 00|79 00 00 11 11 11 0f 01 0e|7a 00 00 1f 02 04 08 1f 00|7b 02 04 04 08 04 04 02 00
7c 04 04 04 04 04 04 04 00|7d 08 04 04 02 04 04 08 00|7e 00 00 08 15 02 00 00 00|7f 00 04 0a 11 11 1f 00 00
80 0e 11 10 10 10 11 0e 04|87 00 00 0e 10 10 11 0e 04|91 00 00 1a 05 0f 14 0f 00|92 0f 14 14 1e 14 14 17 00
9b 04 04 0e 10 10 0e 04 04|9c 06 09 08 1e 08 08 1f 00|9d 11 0a 1f 04 1f 04 04 00|9e 1c 12 1c 12 17 12 11 00
9f 02 05 04 0e 04 04 14 08|a6 0e 01 0f 11 0f 00 1f 00|a7 0e 11 11 11 0e 00 1f 00|a8 04 00 04 08 10 11 0e 00
a9 00 00 00 1f 10 10 00 00|aa 00 00 00 1f 01 01 00 00|ab 10 12 14 0e 11 02 07 00|ac 10 12 14 0b 15 07 01 00
ad 04 00 04 04 04 04 04 00|ae 00 05 0a 14 0a 05 00 00|af 00 14 0a 05 0a 14 00 00
e0 00 00 0d 12 12 12 0d 00|e1 0c 12 12 16 11 11 16 10|e2 1f 11 10 10 10 10 10 00|e3 00 00 1f 0a 0a 0a 0a 00
e4 1f 10 08 04 08 10 1f 00|e5 00 00 0f 12 12 12 0c 00|e6 00 00 11 11 11 19 16 10|e7 00 00 0d 16 04 04 04 00
e8 1f 04 0e 15 0e 04 1f 00|e9 0e 11 11 1f 11 11 0e 00|ea 0e 11 11 11 0a 0a 1b 00|eb 0e 10 0c 0e 11 11 0e 00
ec 00 00 0a 15 15 0a 00 00|ed 01 0e 13 15 19 0e 10 00|ee 06 08 10 1e 10 08 06 00|ef 0e 11 11 11 11 11 11 00
f0 00 1f 00 1f 00 1f 00 00|f1 04 04 1f 04 04 00 1f 00|f2 08 04 02 04 08 00 1f 00|f3 02 04 08 04 02 00 1f 00
f4 02 05 04 04 04 04 04 04|f5 04 04 04 04 04 14 08 00|f6 00 04 00 1f 00 04 00 00|f7 00 09 16 00 09 16 00 00
f8 04 0a 04 00 00 00 00 00|f9 00 00 00 0c 0c 00 00 00|fa 00 00 00 04 00 00 00 00|fb 07 04 04 04 14 0c 04 00
fc 16 19 11 11 00 00 00 00|fd 0c 02 04 0e 00 00 00 00|fe 00 00 0e 0e 0e 0e 00 00";

/// Code, the letter below, two rows of accent.
const ACCENTED: [(u8, char, [u8; 2]); 29] = [
    (0x81, 'u', UMLAUT),
    (0x82, 'e', ACUTE),
    (0x83, 'a', HAT),
    (0x84, 'a', UMLAUT),
    (0x85, 'a', GRAVE),
    (0x86, 'a', RING),
    (0x88, 'e', HAT),
    (0x89, 'e', UMLAUT),
    (0x8a, 'e', GRAVE),
    (0x8b, 'i', UMLAUT),
    (0x8c, 'i', HAT),
    (0x8d, 'i', GRAVE),
    (0x8e, 'A', UMLAUT),
    (0x8f, 'A', RING),
    (0x90, 'E', ACUTE),
    (0x93, 'o', HAT),
    (0x94, 'o', UMLAUT),
    (0x95, 'o', GRAVE),
    (0x96, 'u', HAT),
    (0x97, 'u', GRAVE),
    (0x98, 'y', UMLAUT),
    (0x99, 'O', UMLAUT),
    (0x9a, 'U', UMLAUT),
    (0xa0, 'a', ACUTE),
    (0xa1, 'i', ACUTE),
    (0xa2, 'o', ACUTE),
    (0xa3, 'u', ACUTE),
    (0xa4, 'n', TILDE),
    (0xa5, 'N', TILDE),
];
const UMLAUT: [u8; 2] = [0x0a, 0];
const ACUTE: [u8; 2] = [2, 4];
const GRAVE: [u8; 2] = [8, 4];
const HAT: [u8; 2] = [4, 0x0a];
const RING: [u8; 2] = [4, 4];
const TILDE: [u8; 2] = [0x0d, 0x16];

/// Codes B3-DA: weight of the strokes up, right, down, left (0 none, 1 single, 2 double).
const LINES: [&str; 40] = [
    "1010", "1011", "1012", "2021", "0021", "0012", "2022", "2020", "0022", "2002", "2001", "1002", "0011", "1100",
    "1101", "0111", "1110", "0101", "1111", "1210", "2120", "2200", "0220", "2202", "0222", "2220", "0202", "2222",
    "1202", "2101", "0212", "0121", "2100", "1200", "0210", "0120", "2121", "1212", "1001", "0110",
];

/// How often each dot row is repeated, and where the first one starts.
fn stretch(height: usize) -> ([usize; 8], usize) {
    match height {
        8 => ([1; 8], 0),
        14 => ([1, 1, 1, 2, 1, 2, 1, 1], 2),
        _ => ([1, 2, 1, 2, 1, 2, 1, 2], 2),
    }
}

fn dots(code: u8) -> Option<[u8; 8]> {
    DOTS.split(['|', '\n']).find_map(|glyph| {
        let mut bytes = glyph.split_whitespace().filter_map(|b| u8::from_str_radix(b, 16).ok());
        if bytes.next()? != code {
            return None;
        }
        let mut rows = [0; 8];
        rows.iter_mut().for_each(|r| *r = bytes.next().unwrap_or(0));
        Some(rows)
    })
}

fn drawn(rows: [u8; 8], height: usize) -> Vec<u8> {
    let (repeat, top) = stretch(height);
    let mut cell = vec![0; height];
    let mut y = top;
    for (row, n) in rows.iter().zip(repeat) {
        for _ in 0..n {
            if let Some(line) = cell.get_mut(y) {
                *line = row << 2;
            }
            y += 1;
        }
    }
    cell
}

fn accented(letter: char, accent: [u8; 2], height: usize) -> Vec<u8> {
    let mut rows = dots(letter as u8).unwrap_or_default();
    if letter == 'i' {
        rows[0] = 0;
    }
    let capital = letter.is_ascii_uppercase();
    if height == 8 {
        if capital {
            rows.copy_within(0..7, 1);
            rows[0] = accent[0];
        } else {
            rows[..2].copy_from_slice(&accent);
        }
        return drawn(rows, 8);
    }
    let mut cell = drawn(rows, height);
    let y = if capital { 0 } else { 2 };
    cell[y] = accent[0] << 2;
    cell[y + 1] = accent[1] << 2;
    cell
}

/// A crossing of strokes; double strokes are two lines apart.
fn crossing(weights: &str, height: usize) -> Vec<u8> {
    let w: Vec<u8> = weights.bytes().map(|b| b - b'0').collect();
    let middle = height / 2 - usize::from(height == 8);
    let (vertical, horizontal) = (w[0].max(w[2]), w[1].max(w[3]));
    // The reach of the other direction's lines, so that corners close.
    let (low, high) = if horizontal == 2 { (middle - 1, middle + 1) } else { (middle, middle) };
    let (left, right) = if vertical == 2 { (2usize, 4usize) } else { (3, 3) };
    let mut cell = vec![0u8; height];
    let mut dot = |x: usize, y: usize| cell[y] |= 0x80 >> x;
    let columns: &[usize] = if vertical == 2 { &[2, 4] } else { &[3] };
    for &x in columns {
        let joins = |side: usize| horizontal == 2 && w[side] == 2 && vertical == 2;
        if w[0] > 0 {
            let stop = match x {
                2 if joins(3) => low,
                4 if joins(1) => low,
                _ if w[2] > 0 => middle,
                _ => high,
            };
            (0..=stop).for_each(|y| dot(x, y));
        }
        if w[2] > 0 {
            let start = match x {
                2 if joins(3) => high,
                4 if joins(1) => high,
                _ if w[0] > 0 => middle,
                _ => low,
            };
            (start..height).for_each(|y| dot(x, y));
        }
    }
    let lines: Vec<usize> = if horizontal == 2 { vec![low, high] } else { vec![middle] };
    for &y in &lines {
        let joins = |side: usize| vertical == 2 && w[side] == 2 && horizontal == 2;
        if w[3] > 0 {
            let stop = if (y == low && joins(0)) || (y == high && joins(2) && horizontal == 2) {
                left
            } else if vertical == 2 && w[1] == 0 || w[1] > 0 {
                right
            } else {
                3
            };
            (0..=stop).for_each(|x| dot(x, y));
        }
        if w[1] > 0 {
            let start = if (y == low && joins(0)) || (y == high && joins(2) && horizontal == 2) {
                right
            } else if vertical == 2 && w[3] == 0 || w[3] > 0 {
                left
            } else {
                3
            };
            (start..8).for_each(|x| dot(x, y));
        }
    }
    cell
}

fn glyph(code: u8, height: usize) -> Vec<u8> {
    let rows = |f: &dyn Fn(usize) -> u8| (0..height).map(f).collect::<Vec<u8>>();
    match code {
        0x08 | 0x0a => glyph(code - 1, height).iter().map(|b| !b).collect(),
        0xb0 => rows(&|y| [0x22, 0x88][y % 2]),
        0xb1 => rows(&|y| [0x55, 0xaa][y % 2]),
        0xb2 => rows(&|y| [0xdd, 0x77][y % 2]),
        0xb3..=0xda => crossing(LINES[usize::from(code - 0xb3)], height),
        0xdb => rows(&|_| 0xff),
        0xdc => rows(&|y| if y >= height / 2 { 0xff } else { 0 }),
        0xdd => rows(&|_| 0xf0),
        0xde => rows(&|_| 0x0f),
        0xdf => rows(&|y| if y < height / 2 { 0xff } else { 0 }),
        _ => match ACCENTED.iter().find(|a| a.0 == code) {
            Some((_, letter, accent)) => accented(*letter, *accent, height),
            None => drawn(dots(code).unwrap_or_default(), height),
        },
    }
}

fn table(text: &mut String, codes: std::ops::RangeInclusive<u8>, height: usize) {
    for code in codes {
        let bytes: Vec<String> = glyph(code, height).iter().map(u8::to_string).collect();
        let _ = writeln!(text, "        db {}", bytes.join(","));
    }
}

/// All characters in cells of 8x16.
pub fn tall() -> Vec<u8> {
    (0..=255).flat_map(|code| glyph(code, 16)).collect()
}

/// The macro `font8_low` for the system BIOS.
pub fn system() -> String {
    let mut text = "%macro font8_low 0\n".to_string();
    table(&mut text, 0..=127, 8);
    text + "%endmacro\n"
}

/// The labels `font8`, `font14` and `font16` for the display's ROM.
pub fn display() -> String {
    let mut text = String::new();
    for height in [8, 14, 16] {
        let _ = writeln!(text, "font{height}:");
        table(&mut text, 0..=255, height);
    }
    text
}
