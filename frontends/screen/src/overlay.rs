//! A line of text over the lower edge of a picture: what a window's title says, where there is no title.

use crate::unicode;

/// Behind the text, and the text.
pub const COLORS: [u32; 2] = [0x20_20_20, 0xe8_e8_e8];
/// Pixels above and below the text, before it is enlarged.
const MARGIN: usize = 2;
const CELL: (usize, usize) = (8, 16);

/// How many rows of a window of this height the line takes.
#[must_use]
pub fn height(window: usize) -> usize {
    ((CELL.1 + 2 * MARGIN) * factor(window)).min(window)
}

fn factor(window: usize) -> usize {
    (window / 600).max(1)
}

/// The code of a character in a PC's font.
fn code(character: char) -> u8 {
    match character {
        '●' => 0x07,
        '○' => 0x09,
        '—' => 0xc4,
        _ => (0..=255).find(|code| unicode(*code) == character).unwrap_or(b'?'),
    }
}

/// Draws `text` into the lowest rows of a window's buffer, cut off where the window ends. `font` has sixteen bytes for
/// each character, the topmost row first.
pub fn draw(text: &str, font: &[u8; 4096], window: (usize, usize), out: &mut [u32]) {
    let (width, rows, factor) = (window.0, height(window.1), factor(window.1));
    let Some(bar) = out.get_mut((window.1 - rows) * width..window.1 * width) else { return };
    bar.fill(COLORS[0]);
    let (left, top) = (CELL.0 * factor, MARGIN * factor);
    for (index, character) in text.chars().enumerate() {
        let glyph = usize::from(code(character)) * CELL.1;
        for y in 0..CELL.1 * factor {
            let bits = font[glyph + y / factor];
            for x in 0..CELL.0 * factor {
                let at = left + index * CELL.0 * factor + x;
                let is_lit = bits << (x / factor) & 0x80 != 0 && at < width;
                if let Some(pixel) = bar.get_mut((top + y) * width + at).filter(|_| is_lit) {
                    *pixel = COLORS[1];
                }
            }
        }
    }
}

/// The text of a line that [`draw`] has drawn into a window, without what was cut off; for tests.
#[must_use]
pub fn read(font: &[u8; 4096], window: (usize, usize), pixels: &[u32]) -> String {
    let (factor, rows) = (factor(window.1), height(window.1));
    let lit = |x: usize, y: usize| {
        let row = window.1 - rows + (MARGIN + y) * factor;
        pixels.get(row * window.0 + x * factor) == Some(&COLORS[1])
    };
    let cells = (window.0 / factor).saturating_sub(CELL.0) / CELL.0;
    let text: String = (1..=cells)
        .map(|cell| {
            let row = |y: usize| (0..8).fold(0u8, |bits, x| bits << 1 | u8::from(lit(cell * CELL.0 + x, y)));
            let glyph: Vec<u8> = (0..CELL.1).map(row).collect();
            // Blanks look like characters that have no shape.
            let code = font.chunks_exact(CELL.1).position(|other| other == glyph);
            code.map_or('?', |code| if glyph.iter().all(|row| *row == 0) { ' ' } else { unicode(code as u8) })
        })
        .collect();
    text.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each character has a shape of its own, but for the blank.
    fn font() -> [u8; 4096] {
        let mut font = [0; 4096];
        for code in 1..=255u8 {
            let glyph = &mut font[usize::from(code) * 16..][..16];
            if unicode(code) != ' ' {
                glyph[0] = code;
                glyph[15] = !code;
            }
        }
        font
    }

    #[test]
    fn what_is_drawn_can_be_read() {
        for (width, rows) in [(640, 480), (1280, 1024), (2560, 1600), (1920, 1200)] {
            let mut out = vec![0x12_34_56; width * rows];
            draw("a.img — 100 %  ●disk", &font(), (width, rows), &mut out);
            assert_eq!(read(&font(), (width, rows), &out), "a.img ─ 100 %  •disk");
            let bar = height(rows) * width;
            assert!(out[..out.len() - bar].iter().all(|pixel| *pixel == 0x12_34_56));
            assert!(out[out.len() - bar..].iter().all(|pixel| COLORS.contains(pixel)));
        }
    }

    #[test]
    fn every_window_is_taken() {
        for (width, rows) in [(0, 0), (1, 1), (5, 3), (70, 19), (3, 700)] {
            let mut out = vec![0; width * rows];
            draw(&"x".repeat(100), &font(), (width, rows), &mut out);
            assert!(read(&font(), (width, rows), &out).len() <= 100);
        }
    }
}
