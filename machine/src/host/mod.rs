//! What the host lends to the machine: disk images in its files.

mod image;

pub use image::{ImageError, Mode, Overlay, RawImage, open_cdrom, open_disk, open_floppy};
