//! [`FileError`]: why a file could not be read or written.

use std::io;
use std::path::{Path, PathBuf};

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
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
    /// A line does not hold what its file promises.
    #[error("`{}` line {line}: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: u64,
        /// What was found and what was expected.
        message: String,
    },
    /// Text in another encoding.
    #[error("`{}` is {encoding} text; save it as UTF-8, for example with `iconv -f {encoding} -t UTF-8`", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// What its first bytes say.
        encoding: &'static str,
    },
    /// A file that is packed in a way that is not read.
    #[error("`{}` is packed with {packing}; unpack it first (gzip and zstd can stay)", path.display())]
    Packed {
        /// The file.
        path: PathBuf,
        /// How.
        packing: &'static str,
    },
    /// A file could not be replaced.
    #[error(transparent)]
    Write(#[from] dmdr_events::EventsError),
}

impl FileError {
    /// Wraps an IO error with what was tried and where.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A complaint about one line.
    pub fn line(path: &Path, line: u64, message: impl Into<String>) -> Self {
        Self::Line {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}
