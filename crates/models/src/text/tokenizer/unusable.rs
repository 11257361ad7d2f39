//! The error of a file that no tokenizer can be made of.

use std::{fmt::Display, path::Path};

use crate::ModelError;

pub(super) fn unusable(path: &Path, reason: &dyn Display) -> ModelError {
    ModelError::Tokenizer {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
