//! Everything that can go wrong in the world.

use std::path::PathBuf;

/// An error of the world: a broken drawing, an unknown word, a file, an image of the wrong shape.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The drawing of an object could not be read.
    #[error("the drawing of `{object}` is no valid SVG: {reason}")]
    Drawing {
        /// Name of the object.
        object: &'static str,
        /// What the SVG reader said.
        reason: String,
    },
    /// A caption has a word that the world does not use.
    #[error("unknown word `{word}` in caption `{caption}`")]
    UnknownWord {
        /// The word.
        word: String,
        /// The whole caption.
        caption: String,
    },
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
