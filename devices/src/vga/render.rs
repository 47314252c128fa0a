//! From registers and video memory to pixels and to text.
//!
//! A frame has one pixel per dot of the monitor and one row per scan line, so that 320 by 200
//! modes come out as 640 by 400. The size is bounded by the registers: 256 characters of 9 dots,
//! doubled, by 1024 lines; 2560 by 1600 in modes of the Bochs interface.
//!
//! A line is drawn when a register has changed that matters to the picture, or when video memory
//! behind the line has been written. Rows that come out as they were are not new to any viewer.

use super::dispi::Layout;
use super::picture::{Frame, Viewer};
use super::{State, Vga};
use crate::device::Time;

/// The contents of a text mode screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextScreen {
    /// Characters per row.
    pub columns: usize,
    /// Rows.
    pub rows: usize,
    /// Character code and attribute, row by row. The low four bits of the attribute are the
    /// colour of the character, the high four that of the ground; see `blinking`.
    pub cells: Vec<(u8, u8)>,
    /// Column and row of the cursor when it is shown on the screen. It blinks, whatever the time.
    pub cursor: Option<(usize, usize)>,
    /// First and last scan line of the cursor, counted from the top of the character.
    pub cursor_lines: (usize, usize),
    /// Scan lines of a character.
    pub character_height: usize,
    /// Bit 7 of an attribute makes the character blink, and the ground has eight colours only.
    pub blinking: bool,
    /// What the sixteen colours look like, 00RRGGBBh.
    pub palette: [u32; 16],
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

/// Everything but video memory that the picture depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// What of the Bochs interface, while it is enabled.
    layout: Option<Layout>,
    sequencer: [u8; 3],
    graphics: [u8; 2],
    crtc: Vec<u8>,
    attribute: Vec<u8>,
    dark: bool,
    /// DAC entries as 00RRGGBB; all 256.
    dac: Vec<u32>,
    /// Colours of four-bit pixels. In graphics with blinking on, their highest bit changes with the
    /// phase.
    colors: [u32; 16],
    cursor_on: bool,
    blink_on: bool,
}

/// What has come or gone since the last picture of a text screen on which no register changed.
#[derive(Clone, Copy, Debug, Default)]
struct Turned {
    cursor: bool,
    blink: bool,
}

impl Turned {
    fn any(self) -> bool {
        self.cursor || self.blink
    }
}

/// Buffers that are kept from one line to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    line: Vec<u32>,
    planes: Vec<u8>,
    cells: Vec<Cell>,
}

/// Where the beam is in video memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Beam {
    /// Address counter at the beginning of the line.
    counter: u32,
    /// Scan line of the row.
    scan: u32,
    /// Dots by which the line is moved to the left.
    pan: u32,
    /// Second showing of a doubled line.
    again: bool,
}

/// One character of a row, ready to be drawn.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Plane address of its shape.
    shape: u32,
    front: u32,
    back: u32,
    /// What the cursor is drawn in, if it stands here.
    cursor: Option<u32>,
    /// The ninth dot is like the eighth.
    joined: bool,
    underlined: bool,
}

impl State {
    fn is_text(&self) -> bool {
        !self.graphics.is_graphics()
    }
    /// Plane address of `column` in a line that begins at `counter`.
    fn address(&self, counter: u32, column: u32, scan: u32) -> u32 {
        let counter = counter.wrapping_add(column >> self.crtc.count_shift());
        if self.sequencer.chain_four() { counter & 0xffff } else { self.crtc.plane_address(counter, scan) }
    }
    fn dots(&self) -> u32 {
        if self.is_text() && !self.sequencer.eight_dots() { 9 } else { 8 }
    }
    fn first_line(&self) -> Beam {
        let pan = u32::from(self.attribute.get(0x13));
        // With nine dots a character, 8 is no movement, and 0 is one dot.
        let pan = match (self.dots(), pan) {
            (9, 8..) => 0,
            (9, pan) => pan + 1,
            (_, pan) => pan & 7,
        };
        let counter = self.crtc.start() + self.crtc.byte_panning();
        Beam { counter, scan: self.crtc.preset_row_scan(), pan, again: false }
    }
    /// The line that follows `beam`, which is line `y`.
    fn next_line(&self, beam: Beam, y: u32) -> Beam {
        if y == self.crtc.line_compare() {
            let top_only = self.attribute.pan_top_only();
            let counter = if top_only { 0 } else { self.crtc.byte_panning() };
            return Beam { counter, scan: 0, pan: if top_only { 0 } else { beam.pan }, again: false };
        }
        if self.crtc.double_scan() && !beam.again {
            return Beam { again: true, ..beam };
        }
        let scan = (beam.scan + 1) & 0x1f;
        if scan == self.crtc.row_height() & 0x1f {
            Beam { counter: beam.counter.wrapping_add(self.crtc.pitch()), scan: 0, again: false, ..beam }
        } else {
            Beam { scan, again: false, ..beam }
        }
    }
    /// Size of the picture in dots and lines.
    fn size(&self) -> (usize, usize) {
        let doubled = if self.sequencer.half_clock() { 2 } else { 1 };
        let size = ((self.crtc.columns() * self.dots() * doubled) as usize, self.crtc.lines() as usize);
        // The registers of an adapter that nobody has set up yet give a few dots.
        if self.crtc.synchronises() || (size.0 >= 320 && size.1 >= 200) { size } else { (640, 480) }
    }
}

impl Vga {
    /// Whether a text mode is shown.
    #[must_use]
    pub fn is_text(&self) -> bool {
        !self.state.dispi.enabled() && self.state.is_text()
    }

    /// The text on the screen, or `None` in a graphics mode.
    #[must_use]
    pub fn text_screen(&self, video: &[u8]) -> Option<TextScreen> {
        if !self.is_text() {
            return None;
        }
        let state = &self.state;
        let columns = state.crtc.columns();
        let (mut cells, mut rows, mut cursor) = (Vec::new(), 0, None);
        let mut beam = state.first_line();
        let mut shown = None;
        for y in 0..state.crtc.lines() {
            // A row begins where its address is new; one that begins above the screen counts too.
            if shown != Some(beam.counter) || (beam.scan == 0 && !beam.again) {
                shown = Some(beam.counter);
                for column in 0..columns {
                    let [code, attribute, ..] = planes(video, state.address(beam.counter, column, beam.scan));
                    cells.push((code, attribute));
                }
                let distance = state.crtc.cursor().wrapping_sub(beam.counter) & 0xffff;
                if distance < columns && state.crtc.cursor_shape().is_some() {
                    cursor = Some((distance as usize, rows));
                }
                rows += 1;
            }
            beam = state.next_line(beam, y);
        }
        let (first, last) = state.crtc.cursor_shape().unwrap_or((0, 0));
        Some(TextScreen {
            columns: columns as usize,
            rows,
            cells,
            cursor,
            cursor_lines: (first as usize, last as usize),
            character_height: state.crtc.row_height() as usize,
            blinking: state.attribute.blink(),
            palette: self.colors(0),
        })
    }

    /// Video memory was written by other means than this adapter's own windows: `length` bytes
    /// from `offset`.
    pub fn note_written(&mut self, offset: usize, length: usize) {
        self.written.note_range(offset, length);
    }

    /// What the monitor shows at `now`, and what of it is new to `viewer`.
    pub fn frame(&mut self, video: &[u8], now: Time, viewer: &mut Viewer) -> Frame<'_> {
        self.draw(video, now);
        let aspect = match self.look.layout {
            Some(_) => (1, 1),
            None => {
                let (across, down) = (4 * self.picture.height as u32, 3 * self.picture.width as u32);
                let common = common_divisor(across, down);
                (across / common, down / common)
            }
        };
        self.picture.show(viewer, aspect)
    }

    fn rgb(&self, index: u8) -> u32 {
        self.state.dac.rgb(index, self.state.dispi.wide_dac())
    }
    fn colors(&self, flip: u8) -> [u32; 16] {
        std::array::from_fn(|color| self.rgb(self.state.attribute.color(color as u8, flip)))
    }

    /// Whether the cursor and whether blinking characters show at `now`. The cursor has a period
    /// of 16 frames, characters and graphics one of 32.
    fn phases(&self, now: Time) -> (bool, bool) {
        let state = &self.state;
        if self.state.dispi.enabled() {
            return (true, true);
        }
        let frame = now.0 / self.frame_time();
        let has_cursor = state.is_text() && state.crtc.cursor_shape().is_some();
        (!has_cursor || frame & 8 == 0, !state.attribute.blink() || frame & 16 == 0)
    }

    fn look(&self, cursor_on: bool, blink_on: bool) -> Look {
        let state = &self.state;
        Look {
            layout: self.state.dispi.enabled().then(|| self.state.dispi.layout()),
            sequencer: [state.sequencer.get(1), state.sequencer.get(3), state.sequencer.get(4) & 0x08],
            graphics: [state.graphics.get(5) & 0x60, state.graphics.get(6) & 1],
            crtc: state.crtc.registers().to_vec(),
            attribute: state.attribute.registers().to_vec(),
            dark: state.sequencer.screen_off() || !state.attribute.display_on() || !state.crtc.synchronises(),
            dac: (0..=255).map(|index| self.rgb(index)).collect(),
            colors: self.colors(if blink_on || self.is_text() { 0 } else { 8 }),
            cursor_on,
            blink_on,
        }
    }

    /// Brings the picture up to date.
    fn draw(&mut self, video: &[u8], now: Time) {
        let (cursor_on, blink_on) = self.phases(now);
        let mut whole = false;
        let mut turned = Turned { cursor: cursor_on != self.look.cursor_on, blink: blink_on != self.look.blink_on };
        if !self.touched && turned.any() && self.state.is_text() && self.look.layout.is_none() {
            (self.look.cursor_on, self.look.blink_on) = (cursor_on, blink_on);
        } else if self.touched || turned.any() {
            turned = Turned::default();
            self.touched = false;
            let look = self.look(cursor_on, blink_on);
            whole = look != self.look;
            self.look = look;
        }
        if !whole && !self.written.any() && !turned.any() {
            return;
        }
        let (width, height) = match self.look.layout {
            Some(layout) => (layout.width, layout.height),
            None => self.state.size(),
        };
        whole |= self.picture.begin(width, height);
        match self.look.layout {
            Some(layout) => self.draw_dispi(video, layout, whole),
            None if !self.look.dark => self.draw_vga(video, whole, turned),
            None if whole => {
                self.scratch.line.clear();
                self.scratch.line.resize(width, 0);
                (0..height).for_each(|y| self.picture.put(y, &self.scratch.line));
            }
            None => {}
        }
        self.written.clear();
    }

    fn draw_dispi(&mut self, video: &[u8], layout: Layout, whole: bool) {
        let Layout { width, height, depth, start, pitch } = layout;
        let scale = if depth == 4 { 4 } else { 1 };
        let bytes = if depth == 4 { width.div_ceil(8) * 4 } else { width * usize::from(depth.div_ceil(8)) };
        let line = &mut self.scratch.line;
        for y in 0..height {
            let from = (start + y * pitch) * scale;
            if !whole && !self.written.hits(from, from + bytes) {
                continue;
            }
            let source = video.get(from..).unwrap_or_default();
            let source = source.get(..bytes).unwrap_or(source);
            line.clear();
            match depth {
                4 => {
                    for cell in source.chunks_exact(4) {
                        let nibbles = nibbles(cell);
                        line.extend(nibbles.map(|color| color_of(&self.look.colors, color)));
                    }
                }
                8 => line.extend(source.iter().map(|index| color_of(&self.look.dac, *index))),
                15 => line.extend(source.chunks_exact(2).map(|pixel| {
                    let value = pixel_16(pixel);
                    five(value >> 10) << 16 | five(value >> 5) << 8 | five(value)
                })),
                16 => line.extend(source.chunks_exact(2).map(|pixel| {
                    let value = pixel_16(pixel);
                    let green = value >> 5 & 0x3f;
                    five(value >> 11) << 16 | (green << 2 | green >> 4) << 8 | five(value)
                })),
                24 => line.extend(source.chunks_exact(3).map(|pixel| match *pixel {
                    [blue, green, red] => u32::from_le_bytes([blue, green, red, 0]),
                    _ => 0,
                })),
                _ => line.extend(source.chunks_exact(4).map(|pixel| match *pixel {
                    [blue, green, red, _] => u32::from_le_bytes([blue, green, red, 0]),
                    _ => 0,
                })),
            }
            line.resize(width, 0);
            self.picture.put(y, line);
        }
    }

    fn draw_vga(&mut self, video: &[u8], whole: bool, turned: Turned) {
        let state = &self.state;
        let (width, height) = state.size();
        let text = state.is_text();
        let columns = state.crtc.columns() + 1;
        let doubled = if state.sequencer.half_clock() { 2 } else { 1 };
        let whole = whole || (text && self.written.shapes);
        let painter = Painter { state, look: &self.look, video, columns };
        let Scratch { line, planes, cells } = &mut self.scratch;
        let mut beam = state.first_line();
        // What stands in `line`, and in `cells`.
        let mut drawn = None;
        let mut row = None;
        // The row that was looked at last for what blinks, and whether there is something.
        let mut blinks = (None, false);
        for y in 0..height {
            let place = Beam { again: false, ..beam };
            let key = (beam.counter, if state.crtc.interleaves() { beam.scan & 3 } else { 0 });
            if turned.any() && blinks.0 != Some(key) {
                blinks = (Some(key), painter.blinks(beam, turned));
            }
            if whole || blinks.1 || painter.is_written(beam, &self.written) {
                if drawn != Some(place) {
                    drawn = Some(place);
                    line.clear();
                    if text {
                        if row != Some(key) {
                            row = Some(key);
                            painter.cells(beam, cells);
                        }
                        painter.text_line(beam.scan, cells, line);
                    } else {
                        painter.fetch(beam, planes);
                        painter.graphics_line(planes, line);
                    }
                    line.drain(..(beam.pan as usize).min(line.len()));
                    if doubled == 2 {
                        let dots = line.len();
                        line.resize(dots * 2, 0);
                        for at in (0..dots).rev() {
                            let dot = line.get(at).copied().unwrap_or(0);
                            line.get_mut(2 * at..2 * at + 2).unwrap_or_default().fill(dot);
                        }
                    }
                    line.resize(width, 0);
                }
                self.picture.put(y, line);
            }
            beam = state.next_line(beam, y as u32);
        }
    }
}

fn common_divisor(a: u32, b: u32) -> u32 {
    let (mut a, mut b) = (a.max(1), b.max(1));
    while let Some(rest) = a.checked_rem(b) {
        (a, b) = (b, rest);
    }
    a
}

/// Five bits to eight.
fn five(value: u32) -> u32 {
    let value = value & 0x1f;
    value << 3 | value >> 2
}

fn pixel_16(bytes: &[u8]) -> u32 {
    match *bytes {
        [low, high] => u32::from(u16::from_le_bytes([low, high])),
        _ => 0,
    }
}

fn color_of(colors: &[u32], index: u8) -> u32 {
    colors.get(usize::from(index)).copied().unwrap_or(0)
}

/// One bit per byte, the highest bit first: the dots of one plane.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const DOTS: [u64; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            if byte & 0x80 >> bit != 0 {
                table[byte] |= 1 << (8 * bit);
            }
            bit += 1;
        }
        byte += 1;
    }
    table
};

/// Eight four-bit pixels from a byte of each of four planes.
fn nibbles(planes: &[u8]) -> [u8; 8] {
    let mut dots = 0;
    for (plane, byte) in planes.iter().take(4).enumerate() {
        dots |= DOTS.get(usize::from(*byte)).copied().unwrap_or(0) << plane;
    }
    dots.to_le_bytes()
}

/// Draws single scan lines.
struct Painter<'a> {
    state: &'a State,
    look: &'a Look,
    video: &'a [u8],
    /// Characters of a line and one more, of which panning shows a part.
    columns: u32,
}

impl Painter<'_> {
    /// Place in video memory of a line whose columns lie there one after the other: first and last
    /// plane address.
    fn span(&self, beam: Beam) -> Option<(usize, usize)> {
        let last = self.columns.saturating_sub(1);
        let [first, second, end] =
            [0, 1, last].map(|column| self.state.address(beam.counter, column, beam.scan) as usize);
        let step = second.checked_sub(first)?;
        (end.checked_sub(first)? == step * last as usize).then_some((first, end))
    }
    fn is_written(&self, beam: Beam, written: &super::picture::Written) -> bool {
        match self.span(beam) {
            Some((first, last)) => written.hits(first * 4, (last + 1) * 4),
            None => written.hits(0, 0x4_0000),
        }
    }

    /// Whether the row in which `beam` is has something that blinks and has come or gone now.
    fn blinks(&self, beam: Beam, turned: Turned) -> bool {
        let cursor_at = self.state.crtc.cursor();
        (0..self.columns).any(|column| {
            turned.cursor && beam.counter.wrapping_add(column) & 0xffff == cursor_at
                || turned.blink
                    && planes(self.video, self.state.address(beam.counter, column, beam.scan))[1] & 0x80 != 0
        })
    }

    /// The characters of the row in which `beam` is.
    fn cells(&self, beam: Beam, cells: &mut Vec<Cell>) {
        let attribute = &self.state.attribute;
        let (map_b, map_a) = self.state.sequencer.character_maps();
        let cursor_at = self.state.crtc.cursor();
        let color = |color: u8| color_of(&self.look.colors, color);
        cells.clear();
        cells.extend((0..self.columns).map(|column| {
            let [code, style, ..] = planes(self.video, self.state.address(beam.counter, column, beam.scan));
            let map = if style & 8 != 0 { map_a } else { map_b };
            let (front, mut back) = (style & 0x0f, style >> 4);
            let mut shown = front;
            if attribute.blink() {
                back &= 7;
                if style & 0x80 != 0 && !self.look.blink_on {
                    shown = back;
                }
            }
            let is_cursor = self.look.cursor_on && beam.counter.wrapping_add(column) & 0xffff == cursor_at;
            Cell {
                shape: map + u32::from(code) * 32,
                front: color(shown),
                back: color(back),
                cursor: is_cursor.then(|| color(front)),
                joined: attribute.line_graphics() && (0xc0..=0xdf).contains(&code),
                underlined: attribute.monochrome() && style & 0x77 == 1,
            }
        }));
    }

    fn text_line(&self, scan: u32, cells: &[Cell], line: &mut Vec<u32>) {
        let crtc = &self.state.crtc;
        let cursor = crtc.cursor_shape().is_some_and(|(first, last)| (first..=last).contains(&scan));
        let underline = scan == u32::from(crtc.get(0x14) & 0x1f);
        let nine = self.state.dots() == 9;
        for cell in cells {
            if cursor && let Some(color) = cell.cursor {
                line.extend([color; 8]);
                if nine {
                    line.push(color);
                }
                continue;
            }
            let mut shape = planes(self.video, cell.shape + scan)[2];
            if underline && cell.underlined {
                shape = 0xff;
            }
            let dot = |bit: u8| if shape & bit != 0 { cell.front } else { cell.back };
            line.extend([0x80, 0x40, 0x20, 0x10, 8, 4, 2, 1].map(dot));
            if nine {
                let full = underline && cell.underlined;
                line.push(if (cell.joined && shape & 1 != 0) || full { cell.front } else { cell.back });
            }
        }
    }

    /// Fetches the four planes of every column of a line.
    fn fetch(&self, beam: Beam, bytes: &mut Vec<u8>) {
        bytes.clear();
        if let Some((first, last)) = self.span(beam)
            && last - first + 1 == self.columns as usize
            && let Some(source) = self.video.get(first * 4..(last + 1) * 4)
        {
            bytes.extend_from_slice(source);
            return;
        }
        for column in 0..self.columns {
            bytes.extend(planes(self.video, self.state.address(beam.counter, column, beam.scan)));
        }
    }

    fn graphics_line(&self, bytes: &[u8], line: &mut Vec<u32>) {
        let (graphics, attribute) = (&self.state.graphics, &self.state.attribute);
        let eight_bits = attribute.eight_bits();
        if graphics.shift_256() && eight_bits {
            // Each byte is a pixel of two dots.
            line.extend(bytes.iter().flat_map(|index| [color_of(&self.look.dac, *index); 2]));
            return;
        }
        for cell in bytes.chunks_exact(4) {
            let dots: [u8; 8] = match *cell {
                [a, b, c, d] if graphics.shift_256() => {
                    [a >> 4, a & 15, b >> 4, b & 15, c >> 4, c & 15, d >> 4, d & 15]
                }
                [a, b, c, d] if graphics.shift_interleave() => {
                    let pixel = |low: u8, high: u8, shift: u8| low >> shift & 3 | (high >> shift & 3) << 2;
                    std::array::from_fn(|dot| {
                        let shift = 6 - 2 * (dot as u8 & 3);
                        if dot < 4 { pixel(a, c, shift) } else { pixel(b, d, shift) }
                    })
                }
                _ => nibbles(cell),
            };
            if eight_bits {
                for pair in dots.chunks_exact(2) {
                    let [high, low] = *pair else { continue };
                    line.extend([color_of(&self.look.dac, high << 4 | low); 2]);
                }
            } else {
                line.extend(dots.map(|dot| color_of(&self.look.colors, dot)));
            }
        }
    }
}
