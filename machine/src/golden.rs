//! Pictures that are waited for.

use crate::display::{Picture, Rectangle};
use crate::run::{Machine, Stop};

/// A picture that the screen is compared with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Golden {
    picture: Picture,
    region: Option<Rectangle>,
    tolerance: u8,
}

impl Golden {
    /// The whole screen must look like `picture`, and have its size.
    #[must_use]
    pub fn new(picture: Picture) -> Golden {
        Golden { picture, region: None, tolerance: 0 }
    }
    /// Only this part of the screen counts. `picture` is either a picture of the whole screen, of
    /// which the same part counts, or has the region's size and is that part.
    #[must_use]
    pub fn within(mut self, region: Rectangle) -> Golden {
        self.region = Some(region);
        self
    }
    /// Each of red, green and blue of each pixel may differ by so much; 0 unless said.
    #[must_use]
    pub fn tolerance(mut self, tolerance: u8) -> Golden {
        self.tolerance = tolerance;
        self
    }
    /// The picture itself.
    #[must_use]
    pub fn picture(&self) -> &Picture {
        &self.picture
    }
    /// Whether the screen looks like it.
    #[must_use]
    pub fn matches(&self, screen: &Picture) -> bool {
        let golden = &self.picture;
        let whole = Rectangle { x: 0, y: 0, width: screen.width, height: screen.height };
        let region = self.region.unwrap_or(whole);
        let same_size = |width, height| golden.width == width && golden.height == height;
        let offset = if same_size(screen.width, screen.height) {
            (region.x, region.y)
        } else if self.region.is_some() && same_size(region.width, region.height) {
            (0, 0)
        } else {
            return false;
        };
        let row = |picture: &Picture, x: usize, y: usize| -> Option<Vec<u32>> {
            let end = x.checked_add(region.width).filter(|end| *end <= picture.width)?;
            let line = picture.pixels.chunks_exact(picture.width.max(1)).nth(y)?;
            line.get(x..end).map(<[u32]>::to_vec)
        };
        (0..region.height).all(|line| {
            let Some(at) = region.y.checked_add(line) else { return false };
            match (row(screen, region.x, at), row(golden, offset.0, offset.1 + line)) {
                (Some(a), Some(b)) => a.iter().zip(&b).all(|(a, b)| close(*a, *b, self.tolerance)),
                _ => false,
            }
        })
    }
}

fn close(a: u32, b: u32, tolerance: u8) -> bool {
    let channels = a.to_le_bytes().into_iter().zip(b.to_le_bytes()).take(3);
    channels.into_iter().all(|(a, b)| a.abs_diff(b) <= tolerance)
}

/// Guest time between two looks at a picture: a blink or a key stroke is longer.
const LOOK: u64 = 20_000_000;

impl Machine {
    /// Runs until `text` stands on the text screen, for `nanoseconds` of guest time at most.
    ///
    /// # Errors
    /// Why the run ended before; [`Stop::Done`] when the time was used up.
    pub fn wait_for_text(&mut self, text: &str, nanoseconds: u64) -> Result<(), Stop> {
        self.wait_for(nanoseconds, |machine| machine.screen_text().contains(text))
    }
    /// Runs until the screen looks like `golden`, for `nanoseconds` of guest time at most.
    ///
    /// # Errors
    /// As for [`Machine::wait_for_text`].
    pub fn wait_for_picture(&mut self, golden: &Golden, nanoseconds: u64) -> Result<(), Stop> {
        self.wait_for(nanoseconds, |machine| golden.matches(&machine.picture()))
    }
    /// Runs until all queued keys and clicks are done, for `nanoseconds` of guest time at most.
    ///
    /// # Errors
    /// As for [`Machine::wait_for_text`].
    pub fn wait_for_input(&mut self, nanoseconds: u64) -> Result<(), Stop> {
        self.wait_for(nanoseconds, |machine| !machine.is_typing())
    }
    fn wait_for(&mut self, nanoseconds: u64, mut seen: impl FnMut(&mut Machine) -> bool) -> Result<(), Stop> {
        let until = self.now().plus(nanoseconds);
        loop {
            if seen(self) {
                return Ok(());
            }
            let left = until.since(self.now());
            if left == 0 {
                return Err(Stop::Done);
            }
            match self.run_for(left.min(LOOK)) {
                Stop::Done => {}
                // What the guest showed last may be what was waited for.
                _ if seen(self) => return Ok(()),
                other => return Err(other),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, height: usize) -> Picture {
        Picture { width, height, pixels: (0..(width * height) as u32).collect() }
    }

    #[test]
    fn regions_and_tolerance() {
        let screen = picture(8, 4);
        assert!(Golden::new(screen.clone()).matches(&screen));
        assert!(!Golden::new(picture(4, 8)).matches(&screen));
        let mut other = screen.clone();
        other.pixels[9] += 3;
        assert!(!Golden::new(other.clone()).matches(&screen));
        assert!(Golden::new(other.clone()).tolerance(3).matches(&screen));
        let right = Rectangle { x: 2, y: 0, width: 6, height: 4 };
        assert!(Golden::new(other.clone()).within(right).matches(&screen));
        let part = Picture { width: 2, height: 2, pixels: vec![10, 11, 18, 19] };
        let at = Rectangle { x: 2, y: 1, width: 2, height: 2 };
        assert!(Golden::new(part.clone()).within(at).matches(&screen));
        assert!(!Golden::new(part.clone()).within(Rectangle { x: 3, ..at }).matches(&screen));
        assert!(!Golden::new(part).within(Rectangle { x: 7, ..at }).matches(&screen));
        let beyond = Rectangle { x: usize::MAX, y: usize::MAX, width: 8, height: 4 };
        assert!(!Golden::new(screen.clone()).within(beyond).matches(&screen));
    }
}
