//! Errors of this crate.

use std::io;
use std::path::{Path, PathBuf};

use dmdr_events::EventsError;

/// Why a report could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// A file of the run cannot be read, or the page cannot be written.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// A file operation failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A sheet of samples is no picture, or cannot be taken apart.
    #[error("`{}` is not a PNG picture: {source}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: image::ImageError,
    },
    /// The description of the sheets is not valid.
    #[error("`{}` does not describe sheets of samples: {source}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected.
        source: serde_json::Error,
    },
}

impl ReportError {
    /// Wraps an IO error with what was tried and where.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}
