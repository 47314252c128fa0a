//! What the host lends to the machine: disk images in its files, and where sound goes.

mod image;
pub mod sound;

pub use image::{ImageError, Mode, Overlay, RawImage, open_cdrom, open_disk, open_floppy};
