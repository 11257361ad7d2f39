//! [`ReferencedFile`]: a file that a configuration names.

use std::path::{Path, PathBuf};

/// A file a configuration names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferencedFile {
    /// Dotted path of the key, for the error when the file is missing.
    pub key: String,
    /// The file, as written.
    pub path: PathBuf,
}

impl ReferencedFile {
    pub(crate) fn new(key: impl Into<String>, path: &Path) -> Self {
        Self {
            key: key.into(),
            path: path.to_owned(),
        }
    }
}
