//! The picture that viewers look at: the last frame, and when each part of it last changed.

/// Width of the tiles by which changes are noted.
pub(super) const TILE_WIDTH: usize = 64;
/// Height of the tiles.
pub(super) const TILE_HEIGHT: usize = 16;

/// What one viewer has already seen. Each viewer (a window, a VNC client, a recorder) keeps its
/// own; a new one has seen nothing. It belongs to one machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Viewer {
    generation: u64,
}

impl Viewer {
    /// A viewer who has seen nothing: its first frame is all new.
    #[must_use]
    pub fn new() -> Viewer {
        Viewer::default()
    }
    /// Forgets what was seen: the next frame is all new.
    pub fn forget(&mut self) {
        self.generation = 0;
    }
}

/// A part of a frame, in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rectangle {
    /// Left edge.
    pub x: usize,
    /// Upper edge.
    pub y: usize,
    /// Width, at least 1.
    pub width: usize,
    /// Height, at least 1.
    pub height: usize,
}

/// What the monitor shows, and what of it is new to a viewer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` pixels, 00RRGGBBh, row by row from the top, without gaps.
    pub pixels: &'a [u32],
    /// Width and height of one pixel on the monitor: (1, 1) is a square one. Pictures of a
    /// standard mode fill a screen of 4 by 3, whatever their size; those of the Bochs interface
    /// have square pixels.
    pub pixel_aspect: (u32, u32),
    /// The size is another than in the viewer's last frame (or this is its first): all is new.
    pub resized: bool,
    tiles: &'a [u64],
    since: u64,
    generation: u64,
}

impl<'a> Frame<'a> {
    /// Whether any pixel is new to the viewer. While it is `false` there is nothing to draw.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.resized || self.since < self.generation
    }
    /// One row of pixels; empty when there is no such row.
    #[must_use]
    pub fn row(&self, y: usize) -> &'a [u32] {
        self.pixels.get(y.saturating_mul(self.width)..).and_then(|rest| rest.get(..self.width)).unwrap_or_default()
    }
    /// The rectangles that are new to the viewer, from top to bottom and from left to right. They
    /// do not overlap, have no more than 16 rows each, and together hold every pixel that
    /// changed (and some that did not: changes are noted by tiles of 64 by 16 pixels).
    pub fn damage(&self) -> impl Iterator<Item = Rectangle> + use<'a> {
        let Frame { width, height, tiles, resized, since, .. } = *self;
        let columns = width.div_ceil(TILE_WIDTH).max(1);
        let is_new = move |stamp: &u64| resized || *stamp > since;
        tiles.chunks(columns).enumerate().flat_map(move |(band, stamps)| {
            let y = band * TILE_HEIGHT;
            let mut next = 0;
            std::iter::from_fn(move || {
                let first = next + stamps.get(next..)?.iter().position(is_new)?;
                let length = stamps.get(first..)?.iter().take_while(|stamp| is_new(stamp)).count();
                next = first + length;
                let x = first * TILE_WIDTH;
                Some(Rectangle {
                    x,
                    y,
                    width: (length * TILE_WIDTH).min(width - x),
                    height: TILE_HEIGHT.min(height - y),
                })
            })
        })
    }
    /// The size at which a screen with square pixels shows the picture in its right proportions:
    /// never smaller than the picture in either direction. 720 by 400 becomes 720 by 540.
    #[must_use]
    pub fn display_size(&self) -> (usize, usize) {
        let (across, down) = (self.pixel_aspect.0.max(1) as usize, self.pixel_aspect.1.max(1) as usize);
        if across > down {
            ((self.width * across + down / 2) / down, self.height)
        } else {
            (self.width, (self.height * down + across / 2) / across)
        }
    }
}

/// The last picture. No part of the state of the adapter.
#[derive(Debug, Default)]
pub(super) struct Picture {
    pub width: usize,
    pub height: usize,
    pixels: Vec<u32>,
    /// Generation in which each tile last changed.
    tiles: Vec<u64>,
    columns: usize,
    generation: u64,
    /// Generation in which the size last changed.
    sized: u64,
    drawing: bool,
}

impl Picture {
    /// Begins to draw. Returns whether the picture must be drawn whole because its size changed.
    pub fn begin(&mut self, width: usize, height: usize) -> bool {
        self.drawing = false;
        if (width, height) == (self.width, self.height) {
            return false;
        }
        self.generation += 1;
        self.drawing = true;
        self.sized = self.generation;
        (self.width, self.height) = (width, height);
        self.pixels.clear();
        self.pixels.resize(width * height, 0);
        self.columns = width.div_ceil(TILE_WIDTH).max(1);
        self.tiles.clear();
        self.tiles.resize(self.columns * height.div_ceil(TILE_HEIGHT), self.generation);
        true
    }
    /// Puts one row, and notes the tiles in which it differs from what was there.
    pub fn put(&mut self, y: usize, row: &[u32]) {
        let start = y * self.width;
        let Some(shown) = self.pixels.get_mut(start..start + self.width) else { return };
        let band = y / TILE_HEIGHT * self.columns;
        let stamps = self.tiles.get_mut(band..).unwrap_or_default();
        for ((old, new), stamp) in shown.chunks_mut(TILE_WIDTH).zip(row.chunks(TILE_WIDTH)).zip(stamps) {
            if old.len() == new.len() && old != new {
                old.copy_from_slice(new);
                if !self.drawing {
                    self.drawing = true;
                    self.generation += 1;
                }
                *stamp = self.generation;
            }
        }
    }
    /// What `viewer` sees; it has seen it afterwards.
    pub fn show(&self, viewer: &mut Viewer, pixel_aspect: (u32, u32)) -> Frame<'_> {
        let seen = std::mem::replace(&mut viewer.generation, self.generation);
        // A viewer from another machine has seen nothing of this one.
        let since = if seen > self.generation { 0 } else { seen };
        Frame {
            width: self.width,
            height: self.height,
            pixels: &self.pixels,
            pixel_aspect,
            resized: since < self.sized,
            tiles: &self.tiles,
            since,
            generation: self.generation,
        }
    }
}

/// Bytes of video memory behind one bit of [`Written`].
const GRANULE: usize = 512;

/// Which parts of video memory have been written since the picture was last drawn. No part of the
/// state.
#[derive(Debug)]
pub(super) struct Written {
    granules: Vec<u64>,
    any: bool,
    /// Plane 2 of the first 256 KiB was written, where character shapes lie.
    pub shapes: bool,
}

impl Written {
    /// For `video_bytes` of memory, all of which counts as written.
    pub fn new(video_bytes: usize) -> Written {
        Written { granules: vec![u64::MAX; video_bytes.div_ceil(GRANULE * 64)], any: true, shapes: true }
    }
    pub fn any(&self) -> bool {
        self.any
    }
    pub fn clear(&mut self) {
        if self.any {
            self.granules.fill(0);
            (self.any, self.shapes) = (false, false);
        }
    }
    /// A byte was written by the processor through the planes.
    #[inline]
    pub fn note(&mut self, place: usize) {
        let granule = place / GRANULE;
        if let Some(word) = self.granules.get_mut(granule / 64) {
            *word |= 1 << (granule % 64);
            self.any = true;
        }
    }
    /// `length` bytes at `start` were written by whatever means.
    pub fn note_range(&mut self, start: usize, length: usize) {
        let end = start.saturating_add(length.max(1)).min(self.granules.len() * GRANULE * 64);
        for granule in start / GRANULE..end.div_ceil(GRANULE) {
            self.note(granule * GRANULE);
        }
        self.shapes |= start < 0x4_0000;
    }
    /// Whether any of the bytes from `start` to before `end` were written.
    pub fn hits(&self, start: usize, end: usize) -> bool {
        let end = end.min(self.granules.len() * GRANULE * 64);
        if !self.any || start >= end {
            return false;
        }
        let (first, last) = (start / GRANULE, (end - 1) / GRANULE);
        (first / 64..=last / 64).any(|at| {
            let low = if at == first / 64 { first % 64 } else { 0 };
            let high = if at == last / 64 { last % 64 } else { 63 };
            let mask = u64::MAX >> (63 - (high - low)) << low;
            self.granules.get(at).is_some_and(|word| word & mask != 0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_viewer_gets_what_is_new_to_it() {
        let mut picture = Picture::default();
        assert!(picture.begin(200, 40));
        let (mut a, mut b) = (Viewer::new(), Viewer::new());
        let frame = picture.show(&mut a, (1, 1));
        assert!(frame.resized && frame.changed());
        assert_eq!(frame.damage().map(|r| r.width * r.height).sum::<usize>(), 200 * 40);
        assert!(!picture.show(&mut a, (1, 1)).changed());
        assert!(!picture.begin(200, 40));
        let mut row = [0; 200];
        (row[0], row[199]) = (1, 1);
        picture.put(39, &row);
        let frame = picture.show(&mut a, (1, 1));
        assert!(frame.changed() && !frame.resized);
        assert_eq!(
            frame.damage().collect::<Vec<_>>(),
            [Rectangle { x: 0, y: 32, width: 64, height: 8 }, Rectangle { x: 192, y: 32, width: 8, height: 8 }]
        );
        assert_eq!((frame.row(39)[199], frame.row(40).len()), (1, 0));
        // The same once more is nothing new, except to who has not looked yet.
        assert!(!picture.begin(200, 40));
        picture.put(39, &row);
        assert!(!picture.show(&mut a, (1, 1)).changed());
        assert!(picture.show(&mut b, (1, 1)).resized);
        a.forget();
        assert!(picture.show(&mut a, (1, 1)).resized);
    }

    #[test]
    fn proportions_are_those_of_the_monitor() {
        let mut picture = Picture::default();
        let cases = [(720, 400, (20, 27), (720, 540)), (640, 350, (35, 48), (640, 480)), (9, 9, (2, 1), (18, 9))];
        for (width, height, aspect, size) in cases {
            picture.begin(width, height);
            assert_eq!(picture.show(&mut Viewer::new(), aspect).display_size(), size);
        }
    }

    #[test]
    fn writes_are_found_by_range() {
        let mut written = Written::new(1 << 20);
        assert!(written.hits(0, 1));
        written.clear();
        assert!(!written.any() && !written.hits(0, 1 << 20));
        written.note(0x1_0000);
        assert!(written.hits(0, 0x1_0001) && written.hits(0x1_01ff, 0x9_0000));
        assert!(!written.hits(0, 0x1_0000) && !written.hits(0x1_0200, usize::MAX) && !written.shapes);
        written.note_range(0x3_fff0, 0x20);
        assert!(written.hits(0x3_ffff, 0x4_0000) && written.hits(0x4_0000, 0x4_0001) && written.shapes);
        written.note_range(usize::MAX - 5, usize::MAX);
        written.note(usize::MAX);
    }
}
