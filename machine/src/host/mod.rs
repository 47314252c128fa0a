//! What the host lends to the machine: disk images in its files, pictures, and where sound goes.

mod image;
mod png;
pub mod sound;

pub use image::{ImageError, Mode, Overlay, RawImage, open_cdrom, open_disk, open_floppy};
pub use png::{PictureError, read_png, write_png};
