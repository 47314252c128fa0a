//! Fits a picture into a window.
//!
//! Enlarged pixels stay sharp: only a pixel of the window that lies on the border between two of
//! the picture is a mixture, in the shares in which it covers both. With a whole factor there is
//! no such pixel.

use std::ops::Range;

/// A rectangle in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// From the left.
    pub x: usize,
    /// From the top.
    pub y: usize,
    /// Pixels per row.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

impl Area {
    /// The point of the screen at a point of the window, 0 and FFFFh being the screen's edges;
    /// points beside the screen count as its edge.
    #[must_use]
    pub fn position(&self, x: f32, y: f32) -> (u16, u16) {
        let along = |at: f32, start: usize, length: usize| {
            let last = length.saturating_sub(1).max(1) as u64;
            let pixel = ((at - start as f32).max(0.0) as u64).min(last);
            // Rounded up, because drivers round down when they scale back.
            (pixel * 65535).div_ceil(last) as u16
        };
        (along(x, self.x, self.width), along(y, self.y, self.height))
    }
    /// The rows of the window in which something of `rows` of a picture of `height` rows is seen, and those beside it.
    #[must_use]
    pub fn rows(&self, height: usize, rows: &Range<usize>) -> Range<usize> {
        let height = height.max(1);
        let (start, end) = (rows.start * self.height / height, (rows.end * self.height).div_ceil(height));
        self.y + start.saturating_sub(1)..self.y + (end + 1).min(self.height)
    }
}

/// Where a picture goes in a window: in the middle, as large as it fits in the shape of `natural`
/// (see [`Frame::display_size`](crate::Frame::display_size)); if `sharp`, by whole factors of its
/// own pixels wherever the window has room for them.
#[must_use]
pub fn fit(picture: (usize, usize), natural: (usize, usize), window: (usize, usize), sharp: bool) -> Area {
    let (width, height) = (natural.0.max(1), natural.1.max(1));
    let room = (window.0.max(1), window.1.max(1));
    let (mut wide, mut high) = if room.0 * height <= room.1 * width {
        (room.0, (room.0 * height / width).max(1))
    } else {
        ((room.1 * width / height).max(1), room.1)
    };
    if sharp {
        // The height follows the width, so that the shape stays as right as whole factors allow.
        let whole = |length: usize, of: usize, room: usize| {
            let nearest = (length + of / 2) / of.max(1);
            let most = room / of.max(1);
            if most == 0 { length.min(room) } else { nearest.clamp(1, most) * of }
        };
        wide = whole(wide, picture.0.max(1), room.0);
        high = whole((wide * height / width).max(1), picture.1.max(1), room.1);
    }
    Area { x: (room.0 - wide.min(room.0)) / 2, y: (room.1 - high.min(room.1)) / 2, width: wide, height: high }
}

/// For each pixel of the window the two of the picture that it covers, and the share of the second
/// in 256ths.
fn shares(from: usize, to: usize) -> Vec<(usize, usize, u32)> {
    (0..to)
        .map(|at| {
            // In units of 1 / (from * to) of the length.
            let (start, end) = (at * from, (at + 1) * from);
            let first = start / to;
            let last = (end - 1) / to;
            if last == first || from > to {
                // Wholly inside one pixel; or reduced, when the middle one is taken.
                let only = if from > to { (start + end) / 2 / to } else { first };
                return (only.min(from - 1), only.min(from - 1), 0);
            }
            let over = end - last * to;
            (first, last, (over * 256 / from) as u32)
        })
        .collect()
}

fn mix(a: u32, b: u32, share: u32) -> u32 {
    let channel = |mask: u32| ((a & mask) * (256 - share) + (b & mask) * share) >> 8 & mask;
    // Red and blue have room between them for eight more bits; green has it by itself.
    channel(0x00ff_00ff) | channel(0x0000_ff00)
}

/// Draws pictures into buffers. Keeps what it has computed as long as the sizes stay the same.
#[derive(Clone, Debug, Default)]
pub struct Scaler {
    sizes: (usize, usize, usize, usize),
    across: Vec<(usize, usize, u32)>,
    down: Vec<(usize, usize, u32)>,
}

impl Scaler {
    /// Nothing computed yet.
    #[must_use]
    pub fn new() -> Scaler {
        Scaler::default()
    }
    /// Draws `pixels` of a picture into `area` of a window's buffer, and black around it. Does
    /// nothing when a buffer is shorter than its size says.
    pub fn draw(
        &mut self,
        picture: (usize, usize),
        pixels: &[u32],
        area: Area,
        window: (usize, usize),
        out: &mut [u32],
    ) {
        self.draw_rows(picture, pixels, 0..usize::MAX, area, window, out);
    }
    /// The same for a buffer that holds the picture already but for these rows of it.
    pub fn draw_rows(
        &mut self,
        (width, height): (usize, usize),
        pixels: &[u32],
        rows: Range<usize>,
        area: Area,
        window: (usize, usize),
        out: &mut [u32],
    ) {
        let fits = area.x + area.width <= window.0 && area.y + area.height <= window.1;
        let whole = pixels.len() >= width * height && out.len() >= window.0 * window.1;
        if !fits || !whole || width == 0 || height == 0 || window.0 == 0 {
            return;
        }
        let sizes = (width, height, area.width, area.height);
        if self.sizes != sizes {
            self.sizes = sizes;
            self.across = shares(width, area.width);
            self.down = shares(height, area.height);
        }
        let expand = |row: usize, line: &mut Vec<u32>| {
            let row = &pixels[row * width..][..width];
            line.clear();
            line.extend(self.across.iter().map(
                |(a, b, share)| {
                    if *share == 0 { row[*a] } else { mix(row[*a], row[*b], *share) }
                },
            ));
        };
        let (mut upper, mut lower) = (Vec::new(), Vec::new());
        let (mut have_upper, mut have_lower) = (usize::MAX, usize::MAX);
        for (y, line) in out.chunks_exact_mut(window.0).take(window.1).enumerate() {
            let Some(&(a, b, share)) = y.checked_sub(area.y).and_then(|y| self.down.get(y)) else {
                line.fill(0);
                continue;
            };
            if b < rows.start || a >= rows.end {
                continue;
            }
            line[..area.x].fill(0);
            line[area.x + area.width..].fill(0);
            let line = &mut line[area.x..][..area.width];
            if have_upper != a {
                if have_lower == a {
                    std::mem::swap(&mut upper, &mut lower);
                    have_lower = have_upper;
                } else {
                    expand(a, &mut upper);
                }
                have_upper = a;
            }
            if share == 0 {
                line.copy_from_slice(&upper);
                continue;
            }
            if have_lower != b {
                expand(b, &mut lower);
                have_lower = b;
            }
            for (out, (a, b)) in line.iter_mut().zip(upper.iter().zip(&lower)) {
                *out = mix(*a, *b, share);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_keep_their_shape() {
        let vga = |window, sharp| fit((640, 400), (640, 480), window, sharp);
        assert_eq!(vga((1280, 960), false), Area { x: 0, y: 0, width: 1280, height: 960 });
        assert_eq!(vga((1000, 480), false), Area { x: 180, y: 0, width: 640, height: 480 });
        assert_eq!(vga((1300, 1000), true), Area { x: 10, y: 100, width: 1280, height: 800 });
        assert_eq!(fit((720, 400), (720, 540), (1280, 1024), true), Area { x: 280, y: 312, width: 720, height: 400 });
        assert_eq!(vga((320, 240), true), Area { x: 0, y: 0, width: 320, height: 240 });
    }

    #[test]
    fn positions_reach_the_edges() {
        let area = Area { x: 10, y: 20, width: 101, height: 51 };
        assert_eq!(area.position(0.0, 0.0), (0, 0));
        assert_eq!(area.position(60.0, 45.0), (32768, 32768));
        assert_eq!(area.position(110.0, 70.0), (65535, 65535));
        assert_eq!(area.position(1e9, f32::NAN).0, 65535);
    }

    #[test]
    fn whole_factors_are_exact_and_others_keep_the_light() {
        let mut scaler = Scaler::new();
        let picture = [0xff_0000, 0x00_ff00, 0x00_00ff, 0xff_ffff];
        let mut out = [7; 5 * 4];
        let area = Area { x: 0, y: 0, width: 4, height: 4 };
        scaler.draw((2, 2), &picture, area, (5, 4), &mut out);
        assert_eq!(out[..5], [0xff_0000, 0xff_0000, 0x00_ff00, 0x00_ff00, 0]);
        assert_eq!(out[15..], [0x00_00ff, 0x00_00ff, 0xff_ffff, 0xff_ffff, 0]);
        // Two pixels on three: the middle one is half of each.
        let mut out = [0; 3];
        let area = Area { x: 0, y: 0, width: 3, height: 1 };
        scaler.draw((2, 1), &[0x00_0000, 0xff_fefe], area, (3, 1), &mut out);
        assert_eq!(out, [0, 0x7f_7f7f, 0xff_fefe]);
    }

    #[test]
    fn drawing_what_changed_draws_all() {
        let (size, mut pixels) = ((5, 40), vec![1; 5 * 40]);
        for window in [(5, 40), (9, 61), (13, 120), (4, 17)] {
            let area = fit(size, size, window, false);
            let (mut scaler, mut all, mut part) = (Scaler::new(), vec![0; 20 * 120], vec![0; 20 * 120]);
            scaler.draw(size, &pixels, area, window, &mut part);
            for row in 16..32 {
                pixels[row * 5 + row % 5] += 0x01_0203;
            }
            let before = part.clone();
            scaler.draw_rows(size, &pixels, 16..32, area, window, &mut part);
            let touched = area.rows(40, &(16..32));
            for (y, (old, new)) in before.chunks(window.0).zip(part.chunks(window.0)).enumerate() {
                assert!(touched.contains(&y) || old == new, "{window:?}: row {y} beside {touched:?}");
            }
            assert!(touched.len() <= area.height * 16 / 40 + 4 && touched.end <= window.1, "{touched:?}");
            scaler.draw(size, &pixels, area, window, &mut all);
            assert_eq!(part, all, "{window:?}");
        }
    }

    #[test]
    fn every_size_is_taken() {
        let mut scaler = Scaler::new();
        for (width, height) in [(1, 1), (3, 2), (17, 5)] {
            let pixels = vec![1; width * height];
            for window in [(1, 1), (2, 9), (40, 31)] {
                let mut out = vec![0; window.0 * window.1];
                for sharp in [false, true] {
                    let area = fit((width, height), (width, height), window, sharp);
                    scaler.draw((width, height), &pixels, area, window, &mut out);
                    assert!(out.contains(&1), "{width}x{height} in {window:?}");
                }
            }
        }
    }
}
