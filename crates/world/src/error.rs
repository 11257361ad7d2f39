//! Everything that can go wrong in the world.

/// An error of the world: a broken drawing, an unknown word.
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
}
