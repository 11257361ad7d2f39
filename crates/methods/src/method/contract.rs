//! The contract between a method and the training loop.

use crate::{MethodError, Update};

/// An algorithm that trains a student and, on the way, the networks that judge it.
pub trait Method {
    /// One update of the student, in the order of the algorithm.
    ///
    /// # Errors
    /// If libtorch, a model, the source of prompts or a reward fails.
    fn update(&mut self, update: &mut Update<'_>) -> Result<(), MethodError>;
}
