//! Rectangles of pixels as clients want them: Raw, Hextile, ZRLE, in any pixel format.

use flate2::{Compress, Compression, FlushCompress};

/// How a client wants pixels (RFC 6143 section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelFormat {
    /// Bytes per pixel: 1, 2 or 4.
    pub bytes: u8,
    /// How many bits of a pixel count.
    pub depth: u8,
    /// Whether the most significant byte is first.
    pub big_endian: bool,
    /// Largest values of red, green and blue.
    pub max: [u16; 3],
    /// How far left red, green and blue are moved.
    pub shift: [u8; 3],
}

impl PixelFormat {
    /// 00RRGGBB, least significant byte first.
    pub const DEFAULT: PixelFormat =
        PixelFormat { bytes: 4, depth: 24, big_endian: false, max: [255; 3], shift: [16, 8, 0] };
    /// What stands for a colour map: three bits of red and green and two of blue.
    pub const MAPPED: PixelFormat =
        PixelFormat { bytes: 1, depth: 8, big_endian: false, max: [7, 7, 3], shift: [5, 2, 0] };

    /// The sixteen bytes of the protocol; `None` when they make no sense. A client that asks for
    /// a colour map gets [`MAPPED`](PixelFormat::MAPPED), and must be sent the map.
    #[must_use]
    pub fn parse(bytes: [u8; 16]) -> Option<(PixelFormat, bool)> {
        let [bits, depth, big_endian, true_colour, r1, r0, g1, g0, b1, b0, rs, gs, bs, ..] = bytes;
        if true_colour == 0 {
            return (bits == 8).then_some((PixelFormat::MAPPED, true));
        }
        let format = PixelFormat {
            bytes: bits / 8,
            depth,
            big_endian: big_endian != 0,
            max: [u16::from_be_bytes([r1, r0]), u16::from_be_bytes([g1, g0]), u16::from_be_bytes([b1, b0])],
            shift: [rs, gs, bs],
        };
        let fits = format.max.iter().zip(format.shift).all(|(max, shift)| {
            let wide = u64::from(*max) << shift.min(63);
            *max != 0 && max.wrapping_add(1) & max == 0 && shift < 32 && wide >> bits.min(63) == 0
        });
        (matches!(bits, 8 | 16 | 32) && fits).then_some((format, false))
    }
    /// The sixteen bytes of the protocol.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        let [r, g, b] = self.max.map(u16::to_be_bytes);
        let [rs, gs, bs] = self.shift;
        let big = u8::from(self.big_endian);
        [self.bytes * 8, self.depth, big, 1, r[0], r[1], g[0], g[1], b[0], b[1], rs, gs, bs, 0, 0, 0]
    }
    /// The value of a pixel 00RRGGBBh.
    #[must_use]
    pub fn value(&self, pixel: u32) -> u32 {
        let [blue, green, red, _] = pixel.to_le_bytes();
        let mut value = 0;
        for ((channel, max), shift) in [red, green, blue].into_iter().zip(self.max).zip(self.shift) {
            value |= ((u32::from(channel) * u32::from(max) + 127) / 255) << shift;
        }
        value
    }
    fn put(&self, pixel: u32, out: &mut Vec<u8>) {
        if *self == PixelFormat::DEFAULT {
            return out.extend((pixel & 0xff_ffff).to_le_bytes());
        }
        let value = self.value(pixel);
        match (self.bytes, self.big_endian) {
            (1, _) => out.push(value as u8),
            (2, false) => out.extend((value as u16).to_le_bytes()),
            (2, true) => out.extend((value as u16).to_be_bytes()),
            (_, false) => out.extend(value.to_le_bytes()),
            (_, true) => out.extend(value.to_be_bytes()),
        }
    }
    fn put_row(&self, row: &[u32], out: &mut Vec<u8>) {
        if self.bytes != 4 || self.max != [255; 3] {
            return row.iter().for_each(|pixel| self.put(*pixel, out));
        }
        // What almost all clients ask for: channels are moved and not scaled.
        let ([red, green, blue], start) = (self.shift, out.len());
        out.resize(start + row.len() * 4, 0);
        for (bytes, pixel) in out.get_mut(start..).unwrap_or_default().chunks_exact_mut(4).zip(row) {
            let value = (pixel >> 16 & 0xff) << red | (pixel >> 8 & 0xff) << green | (pixel & 0xff) << blue;
            bytes.copy_from_slice(&if self.big_endian { value.to_be_bytes() } else { value.to_le_bytes() });
        }
    }
    /// Whether ZRLE leaves out a byte that carries nothing, and whether it is the lowest one.
    fn compact(&self) -> Option<bool> {
        let used = self.max.iter().zip(self.shift).fold(0, |used, (max, shift)| used | u32::from(*max) << shift);
        if self.bytes != 4 || self.depth > 24 {
            None
        } else if used & 0xff00_0000 == 0 {
            Some(false)
        } else if used & 0xff == 0 {
            Some(true)
        } else {
            None
        }
    }
    /// A pixel as ZRLE has it ("CPIXEL").
    fn put_compact(&self, pixel: u32, out: &mut Vec<u8>) {
        let Some(drops_lowest) = self.compact() else { return self.put(pixel, out) };
        let start = out.len();
        self.put(pixel, out);
        // The byte that carries nothing is the first or the last one.
        if drops_lowest != self.big_endian {
            out.remove(start);
        } else {
            out.pop();
        }
    }
}

/// What is in the part of a picture that is sent.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Pixels of the whole picture, 00RRGGBBh.
    pub pixels: &'a [u32],
    /// Pixels per row of the whole picture.
    pub stride: usize,
    /// First column.
    pub x: usize,
    /// First row.
    pub y: usize,
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl<'a> Part<'a> {
    /// The rows. What lies beside the picture is black or left out.
    fn rows(&self) -> impl Iterator<Item = &'a [u32]> + use<'a> {
        let Part { pixels, stride, x, y, width, height } = *self;
        (y..y + height).map(move |row| pixels.get(row * stride + x..row * stride + x + width).unwrap_or(&[]))
    }
    /// Smaller parts of at most `size` by `size`, row by row.
    fn tiles(self, size: usize) -> impl Iterator<Item = Part<'a>> {
        (0..self.height).step_by(size).flat_map(move |y| {
            (0..self.width).step_by(size).map(move |x| Part {
                x: self.x + x,
                y: self.y + y,
                width: size.min(self.width - x),
                height: size.min(self.height - y),
                ..self
            })
        })
    }
}

/// Every pixel as it is.
pub fn raw(part: Part<'_>, format: &PixelFormat, out: &mut Vec<u8>) {
    for row in part.rows() {
        format.put_row(row, out);
    }
}

/// The colours of a tile, at most `most`, in order of appearance; `None` when there are more.
fn palette(part: Part<'_>, most: usize) -> Option<Vec<u32>> {
    let mut colours: Vec<u32> = Vec::with_capacity(most);
    for pixel in part.rows().flatten() {
        // Neighbours are mostly alike.
        if colours.last() != Some(pixel) && !colours.contains(pixel) {
            if colours.len() == most {
                return None;
            }
            colours.push(*pixel);
        }
    }
    Some(colours)
}

/// Tiles of 16 by 16 with rectangles in them (RFC 6143 section 7.7.4).
pub fn hextile(part: Part<'_>, format: &PixelFormat, out: &mut Vec<u8>) {
    const RAW: u8 = 1;
    const BACKGROUND: u8 = 2;
    const FOREGROUND: u8 = 4;
    const ANY_RECTANGLES: u8 = 8;
    const COLOURED: u8 = 16;
    // What the client has kept from the tile before.
    let mut background = None;
    for tile in part.tiles(16) {
        let plain = tile.width * tile.height * usize::from(format.bytes);
        let mut body = Vec::new();
        let mut flags = 0;
        let back = most_common(tile);
        if background != Some(back) {
            flags |= BACKGROUND;
            format.put(back, &mut body);
        }
        if let Some(colours) = palette(tile, 2) {
            let fore = colours.iter().copied().find(|colour| *colour != back);
            if let Some(fore) = fore {
                flags |= FOREGROUND | ANY_RECTANGLES;
                format.put(fore, &mut body);
            }
        } else {
            flags |= ANY_RECTANGLES | COLOURED;
        }
        if flags & ANY_RECTANGLES != 0 {
            let rectangles = rectangles(tile, back);
            body.push(rectangles.len().min(255) as u8);
            for (colour, x, y, width, height) in &rectangles {
                if flags & COLOURED != 0 {
                    format.put(*colour, &mut body);
                }
                body.push((x << 4 | y) as u8);
                body.push(((width - 1) << 4 | (height - 1)) as u8);
            }
            if rectangles.len() > 255 || body.len() >= plain {
                out.push(RAW);
                raw(tile, format, out);
                // A raw tile leaves the background undefined.
                background = None;
                continue;
            }
        }
        background = Some(back);
        out.push(flags);
        out.extend(body);
    }
}

/// A colour that many of a tile's pixels have.
fn most_common(tile: Part<'_>) -> u32 {
    // The majority vote of Boyer and Moore; with a good many colours any is as good.
    let (mut winner, mut votes) = (0, 0u32);
    for pixel in tile.rows().flatten() {
        if votes == 0 {
            winner = *pixel;
        }
        votes = if *pixel == winner { votes + 1 } else { votes.saturating_sub(1) };
    }
    winner
}

/// Rectangles that cover everything in a tile that is not `back`: colour, x, y, width, height.
fn rectangles(tile: Part<'_>, back: u32) -> Vec<(u32, usize, usize, usize, usize)> {
    let rows: Vec<&[u32]> = tile.rows().collect();
    let mut done = [0u16; 16];
    let mut found = Vec::new();
    for y in 0..rows.len().min(16) {
        let row = rows[y];
        let mut x = 0;
        while x < row.len().min(16) {
            let colour = row[x];
            if colour == back || done[y] >> x & 1 != 0 {
                x += 1;
                continue;
            }
            let width = row[x..].iter().take(16 - x).take_while(|pixel| **pixel == colour).count();
            let mask = ((1u32 << width) - 1 << x) as u16;
            let same = |row: &&[u32]| row.get(x..x + width).is_some_and(|run| run.iter().all(|pixel| *pixel == colour));
            let height = rows[y..].iter().take(16 - y).take_while(|row| same(row)).count().max(1);
            for line in &mut done[y..y + height] {
                *line |= mask;
            }
            found.push((colour, x, y, width, height));
            x += width;
        }
    }
    found
}

/// The ZRLE encoder of one client: its zlib stream goes through all rectangles.
pub struct Zrle {
    stream: Compress,
    plain: Vec<u8>,
}

impl Default for Zrle {
    fn default() -> Zrle {
        Zrle::new()
    }
}

impl Zrle {
    /// A new stream.
    #[must_use]
    pub fn new() -> Zrle {
        Zrle { stream: Compress::new(Compression::fast(), true), plain: Vec::new() }
    }
    /// Tiles of 64 by 64, with palettes and runs, compressed (RFC 6143 section 7.7.6).
    pub fn encode(&mut self, part: Part<'_>, format: &PixelFormat, out: &mut Vec<u8>) {
        self.plain.clear();
        for tile in part.tiles(64) {
            tile_of_zrle(tile, format, &mut self.plain);
        }
        let length = out.len();
        out.extend([0; 4]);
        let before = self.stream.total_in();
        loop {
            let done = (self.stream.total_in() - before) as usize;
            out.reserve(self.plain.len() / 2 + 1024);
            let rest = self.plain.get(done..).unwrap_or(&[]);
            let status = self.stream.compress_vec(rest, out, FlushCompress::Sync);
            let all = (self.stream.total_in() - before) as usize == self.plain.len();
            // A flush that has room left is complete.
            if status.is_err() || all && out.len() < out.capacity() {
                break;
            }
        }
        let written = (out.len() - length - 4) as u32;
        out[length..length + 4].copy_from_slice(&written.to_be_bytes());
    }
}

fn tile_of_zrle(tile: Part<'_>, format: &PixelFormat, out: &mut Vec<u8>) {
    const PLAIN_RUNS: u8 = 128;
    match palette(tile, 16) {
        Some(colours) if colours.len() == 1 => {
            out.push(1);
            format.put_compact(colours[0], out);
        }
        Some(colours) if !colours.is_empty() => {
            out.push(colours.len() as u8);
            for colour in &colours {
                format.put_compact(*colour, out);
            }
            let bits = match colours.len() {
                2 => 1,
                3..=4 => 2,
                _ => 4,
            };
            for row in tile.rows() {
                let (mut byte, mut used) = (0u8, 0);
                for pixel in row {
                    let index = colours.iter().position(|colour| colour == pixel).unwrap_or(0) as u8;
                    byte |= index << (8 - bits - used);
                    used += bits;
                    if used == 8 {
                        out.push(byte);
                        (byte, used) = (0, 0);
                    }
                }
                if used != 0 {
                    out.push(byte);
                }
            }
        }
        _ => {
            let start = out.len();
            out.push(PLAIN_RUNS);
            let size = usize::from(format.bytes) - usize::from(format.compact().is_some());
            let plain = tile.width * tile.height * size;
            let mut pixels = tile.rows().flatten().copied().peekable();
            while let Some(pixel) = pixels.next() {
                let mut more = 0;
                while pixels.next_if_eq(&pixel).is_some() {
                    more += 1;
                }
                format.put_compact(pixel, out);
                while more >= 255 {
                    out.push(255);
                    more -= 255;
                }
                out.push(more as u8);
                if out.len() - start > plain {
                    break;
                }
            }
            if out.len() - start > plain {
                out.truncate(start);
                out.push(0);
                for pixel in tile.rows().flatten() {
                    format.put_compact(*pixel, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Decompress, FlushDecompress};

    /// Reads pixels of `format` back to 00RRGGBB, as far as they carry it.
    struct Reader<'a> {
        bytes: &'a [u8],
        format: PixelFormat,
    }
    impl Reader<'_> {
        fn byte(&mut self) -> u8 {
            let byte = self.bytes[0];
            self.bytes = &self.bytes[1..];
            byte
        }
        fn value(&mut self, bytes: usize) -> u32 {
            let (value, rest) = self.bytes.split_at(bytes);
            self.bytes = rest;
            let fold = |value, byte: &u8| value << 8 | u32::from(*byte);
            if self.format.big_endian { value.iter().fold(0, fold) } else { value.iter().rev().fold(0, fold) }
        }
        fn pixel(&mut self) -> u32 {
            self.value(usize::from(self.format.bytes))
        }
        fn compact(&mut self) -> u32 {
            match self.format.compact() {
                None => self.pixel(),
                Some(false) => self.value(3),
                Some(true) => self.value(3) << 8,
            }
        }
    }

    fn decode_hextile(reader: &mut Reader<'_>, width: usize, height: usize) -> Vec<u32> {
        let mut out = vec![0; width * height];
        let (mut back, mut fore) = (None, None);
        for y in (0..height).step_by(16) {
            for x in (0..width).step_by(16) {
                let (w, h) = ((width - x).min(16), (height - y).min(16));
                let flags = reader.byte();
                let mut fill = |value: u32, (dx, dy): (usize, usize), (w, h): (usize, usize)| {
                    for row in 0..h {
                        out[(y + dy + row) * width + x + dx..][..w].fill(value);
                    }
                };
                if flags & 1 != 0 {
                    for row in 0..h {
                        for column in 0..w {
                            let value = reader.pixel();
                            fill(value, (column, row), (1, 1));
                        }
                    }
                    (back, fore) = (None, None);
                    continue;
                }
                if flags & 2 != 0 {
                    back = Some(reader.pixel());
                }
                if flags & 4 != 0 {
                    fore = Some(reader.pixel());
                }
                fill(back.unwrap(), (0, 0), (w, h));
                let count = if flags & 8 != 0 { reader.byte() } else { 0 };
                for _ in 0..count {
                    let value = if flags & 16 != 0 { reader.pixel() } else { fore.unwrap() };
                    let (place, size) = (usize::from(reader.byte()), usize::from(reader.byte()));
                    fill(value, (place >> 4, place & 15), ((size >> 4) + 1, (size & 15) + 1));
                }
            }
        }
        out
    }

    fn decode_zrle(reader: &mut Reader<'_>, width: usize, height: usize) -> Vec<u32> {
        let mut out = vec![0; width * height];
        for y in (0..height).step_by(64) {
            for x in (0..width).step_by(64) {
                let (w, h) = ((width - x).min(64), (height - y).min(64));
                let mut pixels = Vec::new();
                match reader.byte() {
                    0 => pixels.extend((0..w * h).map(|_| reader.compact())),
                    1 => pixels = vec![reader.compact(); w * h],
                    count @ 2..=16 => {
                        let colours: Vec<u32> = (0..count).map(|_| reader.compact()).collect();
                        let bits = [1, 2, 4][usize::from(count > 2) + usize::from(count > 4)];
                        for _ in 0..h {
                            let line: Vec<u8> = (0..(w * bits).div_ceil(8)).map(|_| reader.byte()).collect();
                            pixels.extend((0..w).map(|column| {
                                let at = column * bits;
                                let index = line[at / 8] >> (8 - bits - at % 8) & ((1 << bits) - 1);
                                colours[usize::from(index)]
                            }));
                        }
                    }
                    128 => {
                        while pixels.len() < w * h {
                            let (value, mut length) = (reader.compact(), 1);
                            loop {
                                let more = reader.byte();
                                length += usize::from(more);
                                if more != 255 {
                                    break;
                                }
                            }
                            pixels.extend(vec![value; length]);
                        }
                    }
                    other => panic!("subencoding {other}"),
                }
                assert_eq!(pixels.len(), w * h);
                for (row, line) in pixels.chunks(w).enumerate() {
                    out[(y + row) * width + x..][..w].copy_from_slice(line);
                }
            }
        }
        out
    }

    fn pictures() -> Vec<(usize, usize, Vec<u32>)> {
        let mut seed = 1u32;
        let mut random = move || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed >> 8
        };
        let mut all = Vec::new();
        for (width, height) in [(1, 1), (16, 16), (65, 66), (100, 37), (130, 200)] {
            let size = width * height;
            all.push((width, height, vec![0x12_3456; size]));
            for colours in [2, 3, 5, 17, 1 << 24] {
                all.push((width, height, (0..size).map(|_| random() % colours * 0x01_0307 & 0xff_ffff).collect()));
                let runs = (0..size).map(|at| (at as u32 / 300) % colours * 0x10_2030 & 0xff_ffff).collect();
                all.push((width, height, runs));
            }
        }
        all
    }

    const FORMATS: [PixelFormat; 5] = [
        PixelFormat::DEFAULT,
        PixelFormat::MAPPED,
        PixelFormat { bytes: 2, depth: 16, big_endian: true, max: [31, 63, 31], shift: [11, 5, 0] },
        PixelFormat { bytes: 4, depth: 24, big_endian: true, max: [255; 3], shift: [8, 16, 24] },
        PixelFormat { bytes: 4, depth: 32, big_endian: false, max: [255; 3], shift: [0, 8, 24] },
    ];

    #[test]
    fn a_row_is_its_pixels() {
        let row: Vec<u32> = (0..100).map(|n: u32| n.wrapping_mul(0x9e37_79b1) & 0xff_ffff).collect();
        for shift in [[16, 8, 0], [0, 8, 16], [24, 16, 8], [8, 16, 24]] {
            for big_endian in [false, true] {
                let format = PixelFormat { shift, big_endian, ..PixelFormat::DEFAULT };
                let (mut whole, mut single) = (vec![7], vec![7]);
                format.put_row(&row, &mut whole);
                row.iter().for_each(|pixel| format.put(*pixel, &mut single));
                assert_eq!(whole, single, "{format:?}");
            }
        }
    }

    #[test]
    fn pictures_come_back() {
        for format in FORMATS {
            let mut zrle = Zrle::new();
            let mut inflate = Decompress::new(true);
            for (width, height, pixels) in pictures() {
                let part = Part { pixels: &pixels, stride: width, x: 0, y: 0, width, height };
                let expected: Vec<u32> = pixels.iter().map(|pixel| format.value(*pixel)).collect();
                let mut out = Vec::new();
                raw(part, &format, &mut out);
                let mut reader = Reader { bytes: &out, format };
                let back: Vec<u32> = pixels.iter().map(|_| reader.pixel()).collect();
                assert_eq!(back, expected);
                out.clear();
                hextile(part, &format, &mut out);
                let mut reader = Reader { bytes: &out, format };
                assert_eq!(decode_hextile(&mut reader, width, height), expected);
                assert!(reader.bytes.is_empty());
                out.clear();
                zrle.encode(part, &format, &mut out);
                let length = u32::from_be_bytes(out[..4].try_into().unwrap()) as usize;
                assert_eq!(length, out.len() - 4);
                let mut plain = Vec::with_capacity(1 << 20);
                inflate.decompress_vec(&out[4..], &mut plain, FlushDecompress::Sync).unwrap();
                let mut reader = Reader { bytes: &plain, format };
                assert_eq!(decode_zrle(&mut reader, width, height), expected, "{format:?} {width}x{height}");
                assert!(reader.bytes.is_empty());
            }
        }
    }

    #[test]
    fn formats_are_checked() {
        for format in FORMATS {
            assert_eq!(PixelFormat::parse(format.to_bytes()), Some((format, false)));
        }
        let mut bytes = PixelFormat::DEFAULT.to_bytes();
        bytes[3] = 0;
        assert_eq!(PixelFormat::parse(bytes), None);
        bytes[0] = 8;
        assert_eq!(PixelFormat::parse(bytes), Some((PixelFormat::MAPPED, true)));
        let bad = [(0, 24), (0, 0), (10, 31), (10, 200), (5, 254)];
        for (at, value) in bad {
            let mut bytes = PixelFormat::DEFAULT.to_bytes();
            bytes[at] = value;
            assert_eq!(PixelFormat::parse(bytes), None, "{at}={value}");
        }
    }
}
