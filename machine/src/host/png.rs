//! Pictures as PNG files.

use crate::display::Picture;
use std::io::{BufReader, BufWriter};
use std::path::Path;

/// A picture file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{path}: cannot be {doing}: {source}")]
pub struct PictureError {
    path: String,
    doing: &'static str,
    /// What is wrong.
    pub source: std::io::Error,
}

/// More pixels than any screen has; a file that claims them is not read.
const MOST_PIXELS: u64 = 64 << 20;

/// Writes a picture into a PNG file.
///
/// # Errors
/// The file cannot be written.
pub fn write_png(picture: &Picture, path: &Path) -> Result<(), PictureError> {
    let failure = |source| PictureError { path: path.display().to_string(), doing: "written", source };
    let file = std::fs::File::create(path).map_err(failure)?;
    let (width, height) = (picture.width.max(1) as u32, picture.height.max(1) as u32);
    let mut encoder = png::Encoder::new(BufWriter::new(file), width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let channels = |pixel: &u32| {
        let [blue, green, red, _] = pixel.to_le_bytes();
        [red, green, blue]
    };
    let mut bytes: Vec<u8> = picture.pixels.iter().flat_map(channels).collect();
    bytes.resize(width as usize * height as usize * 3, 0);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&bytes)?;
        writer.finish()
    });
    written.map_err(|error| failure(error.into()))
}

/// Reads a picture from a PNG file; what is transparent counts as opaque.
///
/// # Errors
/// The file cannot be read, or is no PNG file of a reasonable size.
pub fn read_png(path: &Path) -> Result<Picture, PictureError> {
    let failure = |source| PictureError { path: path.display().to_string(), doing: "read", source };
    let invalid = |text: &str| failure(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
    let file = std::fs::File::open(path).map_err(failure)?;
    let mut decoder = png::Decoder::new(BufReader::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|error| failure(error.into()))?;
    let info = reader.info();
    if u64::from(info.width) * u64::from(info.height) > MOST_PIXELS {
        return Err(invalid("it is larger than any screen"));
    }
    let size = reader.output_buffer_size().ok_or_else(|| invalid("it is larger than any screen"))?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(|error| failure(error.into()))?;
    let (width, height) = (frame.width as usize, frame.height as usize);
    let samples = frame.color_type.samples().max(1);
    let pixels = bytes
        .chunks_exact(samples)
        .take(width * height)
        .map(|pixel| match *pixel {
            [red, green, blue, ..] => u32::from_be_bytes([0, red, green, blue]),
            [grey, ..] => u32::from(grey) * 0x01_0101,
            [] => 0,
        })
        .collect();
    Ok(Picture { width, height, pixels })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let path = std::env::temp_dir().join(format!("beigebox-{}.png", std::process::id()));
        let picture = Picture { width: 3, height: 2, pixels: vec![0, 0xff_0000, 0x00_ff00, 1, 0x80_8080, 0xff_ffff] };
        write_png(&picture, &path).unwrap();
        assert_eq!(read_png(&path).unwrap(), picture);
        std::fs::write(&path, b"no picture").unwrap();
        assert!(read_png(&path).unwrap_err().to_string().contains("cannot be read"));
        std::fs::remove_file(&path).unwrap();
    }
}
