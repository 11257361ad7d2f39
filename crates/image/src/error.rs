//! [`ImageError`]: why there is no picture.

use std::path::PathBuf;

/// A file that is no picture or cannot be written, pixels of another size.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A file could not be written.
    #[error("cannot write picture `{}`: {source}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// A picture that cannot be opened.
    #[error("cannot read picture `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// A file that is no picture, one of a kind that is not read, or a damaged one.
    #[error("picture `{}` {reason}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What it is instead, and the way out.
        reason: String,
    },
    /// Pixels that do not fit the stated size.
    #[error("{got} values cannot fill {width} x {height} pixels of 3 channels")]
    PixelCount {
        /// Stated width in pixels.
        width: usize,
        /// Stated height in pixels.
        height: usize,
        /// Number of values given.
        got: usize,
    },
}
