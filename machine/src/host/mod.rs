//! What the host lends to the machine: disk images in its files, pictures, and where sound goes.

pub mod image;
pub mod net;
mod png;
pub mod share;
pub mod sound;

pub use image::{
    Cache, Format, Image, ImageError, ImageOptions, Mode, Overlay, RawImage, open_cdrom, open_cdrom_with, open_disk,
    open_disk_with, open_floppy, open_floppy_with, open_image,
};
pub use png::{PictureError, read_png, write_png};
pub use share::{FatFolder, IsoFolder, ShareError, SharedFolder};
