//! Pictures in memory and as files: [`Image`] is what every crate hands around.

mod error;
mod image;
mod picture;
mod png;

pub use error::ImageError;
pub use image::Image;
pub use picture::PictureKind;
