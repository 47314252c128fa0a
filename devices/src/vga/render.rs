//! From registers and video memory to pixels and to text.
//!
//! A frame has one pixel per dot of the monitor and one row per scan line, so that 320 by 200
//! modes come out as 640 by 400. The size is bounded by the registers: 256 characters of 9 dots,
//! doubled, by 1024 lines.

use super::Vga;
use super::dispi::Layout;
use crate::device::Time;

/// One picture.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` pixels, 00RRGGBB.
    pub pixels: &'a [u32],
}

/// The contents of a text mode screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextScreen {
    /// Characters per row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
    /// Character code and attribute, row by row.
    pub cells: Vec<(u8, u8)>,
    /// Column and row of the cursor when it is shown on the screen.
    pub cursor: Option<(usize, usize)>,
}

impl TextScreen {
    /// The characters of one row, as Unicode, without trailing blanks.
    #[must_use]
    pub fn row(&self, row: usize) -> String {
        let cells = self.cells.iter().skip(row.saturating_mul(self.columns)).take(self.columns);
        let text: String = cells.map(|(code, _)| unicode(*code)).collect();
        text.trim_end().to_owned()
    }
}

/// The whole screen as lines of Unicode text, without trailing blanks in each line.
impl std::fmt::Display for TextScreen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (0..self.rows).try_for_each(|row| writeln!(f, "{}", self.row(row)))
    }
}

/// The character that a PC font shows for `code` (code page 437).
#[must_use]
pub fn unicode(code: u8) -> char {
    const LOW: &str = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
    const HIGH: &str = "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐\
        └┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{a0}";
    let found = match code {
        0..=31 => LOW.chars().nth(usize::from(code)),
        32..=126 => Some(char::from(code)),
        _ => HIGH.chars().nth(usize::from(code) - 127),
    };
    found.unwrap_or(' ')
}

/// The four planes at plane address `address`, plane 0 lowest; the VGA has 64 KiB per plane.
fn planes(video: &[u8], address: u32) -> [u8; 4] {
    let at = (address & 0xffff) as usize * 4;
    match video.get(at..at + 4) {
        Some(&[a, b, c, d]) => [a, b, c, d],
        _ => [0; 4],
    }
}

impl Vga {
    /// Whether a text mode is shown.
    #[must_use]
    pub fn is_text(&self) -> bool {
        !self.state.dispi.enabled() && !self.state.graphics.is_graphics()
    }

    /// The text on the screen, or `None` in a graphics mode.
    #[must_use]
    pub fn text_screen(&self, video: &[u8]) -> Option<TextScreen> {
        if !self.is_text() {
            return None;
        }
        let crtc = &self.state.crtc;
        let columns = crtc.columns();
        let rows = (self.lines() / crtc.row_height()).max(1);
        let (start, pitch) = (crtc.start(), crtc.pitch());
        let mut cells = Vec::with_capacity((columns * rows) as usize);
        for row in 0..rows {
            for column in 0..columns {
                let [code, attribute, ..] = planes(video, start + row * pitch + column);
                cells.push((code, attribute));
            }
        }
        let distance = crtc.cursor().wrapping_sub(start) & 0xffff;
        let place = distance.checked_div(pitch).zip(distance.checked_rem(pitch));
        let cursor = place
            .filter(|(row, column)| *row < rows && *column < columns && crtc.cursor_shape().is_some())
            .map(|(row, column)| (column as usize, row as usize));
        Some(TextScreen { columns: columns as usize, rows: rows as usize, cells, cursor })
    }

    /// Displayed scan lines.
    fn lines(&self) -> u32 {
        self.state.crtc.lines()
    }

    /// Draws the picture that the monitor shows at `now`.
    pub fn render(&mut self, video: &[u8], now: Time) -> Frame<'_> {
        let mut pixels = std::mem::take(&mut self.pixels);
        let (width, height) = if self.state.dispi.enabled() {
            let layout = self.state.dispi.layout();
            self.draw_dispi(video, layout, &mut pixels);
            (layout.width, layout.height)
        } else {
            self.draw_vga(video, now, &mut pixels)
        };
        self.pixels = pixels;
        Frame { width, height, pixels: &self.pixels }
    }

    fn draw_dispi(&self, video: &[u8], layout: Layout, pixels: &mut Vec<u32>) {
        let Layout { width, height, depth, start, pitch } = layout;
        pixels.clear();
        pixels.resize(width * height, 0);
        let palette: Vec<u32> = (0..=255).map(|index| self.rgb(index)).collect();
        let colors: [u32; 16] = std::array::from_fn(|color| self.rgb(self.state.attribute.color(color as u8)));
        let bytes = usize::from(depth.div_ceil(8));
        for (y, row) in pixels.chunks_exact_mut(width.max(1)).enumerate() {
            let line = start + y * pitch;
            if depth == 4 {
                for (x, pixel) in row.iter_mut().enumerate() {
                    let at = (line + x / 8) * 4;
                    let Some(&[a, b, c, d]) = video.get(at..at + 4) else { break };
                    let bit = |plane: u8| plane >> (7 - x % 8) & 1;
                    let color = bit(a) | bit(b) << 1 | bit(c) << 2 | bit(d) << 3;
                    *pixel = colors.get(usize::from(color)).copied().unwrap_or(0);
                }
                continue;
            }
            let source = video.get(line..).unwrap_or_default();
            for (pixel, source) in row.iter_mut().zip(source.chunks_exact(bytes)) {
                *pixel = match (depth, source) {
                    (8, [index]) => palette.get(usize::from(*index)).copied().unwrap_or(0),
                    (15, [low, high]) => {
                        let value = u32::from(u16::from_le_bytes([*low, *high]));
                        five(value >> 10) << 16 | five(value >> 5) << 8 | five(value)
                    }
                    (16, [low, high]) => {
                        let value = u32::from(u16::from_le_bytes([*low, *high]));
                        let green = value >> 5 & 0x3f;
                        five(value >> 11) << 16 | (green << 2 | green >> 4) << 8 | five(value)
                    }
                    (_, [blue, green, red, ..]) => u32::from(*red) << 16 | u32::from(*green) << 8 | u32::from(*blue),
                    _ => 0,
                };
            }
        }
    }

    fn draw_vga(&self, video: &[u8], now: Time, pixels: &mut Vec<u32>) -> (usize, usize) {
        let state = &self.state;
        let crtc = &state.crtc;
        let text = !state.graphics.is_graphics();
        let dots: u32 = if text && !state.sequencer.eight_dots() { 9 } else { 8 };
        let columns = crtc.columns();
        // In 256-colour modes the shift register gives a pixel every other dot.
        let wide = state.graphics.shift_256() && !text;
        let repeat = if state.sequencer.half_clock() { 2 } else { 1 };
        let width = (columns * dots * repeat) as usize;
        let height = self.lines() as usize;
        pixels.clear();
        pixels.resize(width * height, 0);
        if state.sequencer.screen_off() || !state.attribute.display_on() {
            return (width, height);
        }
        let colors: Vec<u32> = if wide {
            (0..=255).map(|index| self.rgb(index)).collect()
        } else {
            (0..16).map(|color| self.rgb(state.attribute.color(color))).collect()
        };
        let frame = now.0 / self.frame_time();
        let painter = Painter { vga: self, video, dots, cursor_on: frame & 8 == 0, characters_on: frame & 16 == 0 };

        let pan = u32::from(state.attribute.get(0x13));
        let mut pan = match (dots, pan) {
            (9, 8..) => 0,
            (9, pan) => pan + 1,
            (_, pan) => pan & 7,
        };
        let row_height = crtc.row_height();
        let double = crtc.get(9) & 0x80 != 0;
        let line_compare = crtc.line_compare();
        let mut address = crtc.start() + u32::from(crtc.get(8) >> 5 & 3);
        let mut scan = u32::from(crtc.get(8) & 0x1f);
        let mut second = false;
        let mut line: Vec<u8> = Vec::with_capacity(width + 16);
        for (y, row) in pixels.chunks_exact_mut(width.max(1)).enumerate() {
            line.clear();
            if text {
                painter.text_line(address, scan, columns + 1, &mut line);
            } else {
                painter.graphics_line(address, scan, columns + 1, &mut line);
            }
            let shown = line.iter().skip(pan as usize);
            for (pixels, index) in row.chunks_mut(repeat as usize).zip(shown) {
                pixels.fill(colors.get(usize::from(*index)).copied().unwrap_or(0));
            }
            if y as u32 == line_compare {
                (address, scan, second) = (0, 0, false);
                if state.attribute.pan_top_only() {
                    pan = 0;
                }
            } else if double && !second {
                second = true;
            } else {
                second = false;
                scan = (scan + 1) & 0x1f;
                if scan == row_height & 0x1f {
                    scan = 0;
                    address = address.wrapping_add(crtc.pitch());
                }
            }
        }
        (width, height)
    }

    fn rgb(&self, index: u8) -> u32 {
        self.state.dac.rgb(index, self.state.dispi.wide_dac())
    }
}

/// Five bits to eight.
fn five(value: u32) -> u32 {
    let value = value & 0x1f;
    value << 3 | value >> 2
}

/// Draws single scan lines as colour numbers, one per dot.
struct Painter<'a> {
    vga: &'a Vga,
    video: &'a [u8],
    dots: u32,
    cursor_on: bool,
    characters_on: bool,
}

impl Painter<'_> {
    fn text_line(&self, address: u32, scan: u32, columns: u32, line: &mut Vec<u8>) {
        let state = &self.vga.state;
        let attribute = &state.attribute;
        let (map_b, map_a) = state.sequencer.character_maps();
        let cursor =
            state.crtc.cursor_shape().filter(|(first, last)| self.cursor_on && (*first..=*last).contains(&scan));
        let cursor_at = state.crtc.cursor() & 0xffff;
        let underline = u32::from(state.crtc.get(0x14) & 0x1f);
        for column in 0..columns {
            let at = address.wrapping_add(column) & 0xffff;
            let [code, color, ..] = planes(self.video, at);
            let map = if color & 8 != 0 { map_a } else { map_b };
            let mut shape = planes(self.video, map + u32::from(code) * 32 + scan)[2];
            let (mut front, mut back) = (color & 0x0f, color >> 4);
            if attribute.blink() {
                back &= 7;
                if color & 0x80 != 0 && !self.characters_on {
                    front = back;
                }
            }
            if attribute.monochrome() && color & 7 == 1 && scan == underline {
                shape = 0xff;
            }
            if cursor.is_some() && at == cursor_at {
                back = front;
            }
            line.extend((0..8).map(|bit| if shape << bit & 0x80 != 0 { front } else { back }));
            if self.dots == 9 {
                let joined = attribute.line_graphics() && (0xc0..=0xdf).contains(&code) && shape & 1 != 0;
                line.push(if joined { front } else { back });
            }
        }
    }

    fn graphics_line(&self, address: u32, scan: u32, columns: u32, line: &mut Vec<u8>) {
        let state = &self.vga.state;
        let mode = state.crtc.get(0x17);
        for column in 0..columns {
            let mut at = address.wrapping_add(column);
            // Scan line bits in place of address bits, for the layouts of CGA and Hercules. In
            // word mode a plane address counts two bytes of the processor's.
            if mode & 1 == 0 {
                let bit = if mode & 0x40 == 0 { 12 } else { 13 };
                at = at & !(1 << bit) | (scan & 1) << bit;
            }
            if mode & 2 == 0 {
                at = at & !0x2000 | (scan >> 1 & 1) << 13;
            }
            let [a, b, c, d] = planes(self.video, at);
            if state.graphics.shift_256() {
                line.extend([a, a, b, b, c, c, d, d]);
            } else if state.graphics.shift_interleave() {
                for (low, high) in [(a, c), (b, d)] {
                    line.extend([6, 4, 2, 0].map(|shift| low >> shift & 3 | (high >> shift & 3) << 2));
                }
            } else {
                line.extend([7u8, 6, 5, 4, 3, 2, 1, 0].map(|shift| {
                    let bit = |plane: u8| plane >> shift & 1;
                    bit(a) | bit(b) << 1 | bit(c) << 2 | bit(d) << 3
                }));
            }
        }
    }
}
