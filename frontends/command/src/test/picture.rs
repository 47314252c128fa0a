//! Pictures: PNG files, and how far two are apart.

use super::case::Golden;
use crate::{Failure, code};
use beigebox::display::Picture;
use beigebox::host;
use std::path::Path;

/// Reads a picture.
pub(crate) fn read(path: &Path) -> Result<Picture, Failure> {
    if let Err(error) = std::fs::metadata(path) {
        return Err(Failure::file(path, "opened", &error));
    }
    host::read_png(path).map_err(|error| Failure::new(code::CONFIGURATION, error.to_string()))
}

/// Writes a picture as PNG.
pub(crate) fn write(path: &Path, picture: &Picture) -> Result<(), Failure> {
    host::write_png(picture, path).map_err(|error| Failure::new(code::IO, error.to_string()))
}

/// How a screen differs from the picture it must show; `None` when it does not, within tolerance.
pub(crate) fn difference(screen: &Picture, wanted: &Picture, golden: &Golden) -> Option<String> {
    if (screen.width, screen.height) != (wanted.width, wanted.height) {
        return Some(format!(
            "the screen has {}x{} pixels, the picture {}x{}",
            screen.width, screen.height, wanted.width, wanted.height
        ));
    }
    let apart = |a: u32, b: u32| {
        let channels = a.to_be_bytes().into_iter().zip(b.to_be_bytes());
        channels.map(|(a, b)| a.abs_diff(b)).max().unwrap_or(0)
    };
    let (mut count, mut most, mut first) = (0usize, 0, None);
    for (index, (a, b)) in screen.pixels.iter().zip(&wanted.pixels).enumerate() {
        let apart = apart(*a, *b);
        most = most.max(apart);
        if apart > golden.tolerance {
            count += 1;
            first.get_or_insert((index % screen.width.max(1), index / screen.width.max(1)));
        }
    }
    let share = count as f64 * 100.0 / screen.pixels.len().max(1) as f64;
    if share <= golden.pixels {
        return None;
    }
    let (x, y) = first.unwrap_or_default();
    Some(format!("{count} pixels ({share:.2} %) differ, by up to {most}; the first is ({x}, {y})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_survive_the_file_and_compare() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        let mut picture = Picture { width: 4, height: 2, pixels: (0..8).map(|n| n * 0x10203).collect() };
        write(&path, &picture).unwrap();
        assert_eq!(read(&path).unwrap(), picture);
        let wanted = picture.clone();
        picture.pixels[5] ^= 0x000300;
        let mut golden = Golden { path, tolerance: 0, pixels: 0.0 };
        let text = difference(&picture, &wanted, &golden).unwrap();
        assert!(text.contains("1 pixels (12.50 %)") && text.contains("(1, 1)"), "{text}");
        golden.tolerance = 7;
        assert_eq!(difference(&picture, &wanted, &golden), None);
        golden = Golden { tolerance: 0, pixels: 13.0, ..golden };
        assert_eq!(difference(&picture, &wanted, &golden), None);
        picture.width = 2;
        picture.height = 4;
        assert!(difference(&picture, &wanted, &golden).is_some());
    }
}
