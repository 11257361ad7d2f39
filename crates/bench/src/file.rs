//! Lines of JSON files, with errors that say where.

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::text::{self, Line};

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
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// A complaint about one line.
    pub(crate) fn line(path: &Path, line: u64, message: impl Into<String>) -> Self {
        Self::Line {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

/// Every line of a JSON-lines file with its number, from 1. Blank lines are skipped.
pub(crate) fn json_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<(u64, T)>, FileError> {
    let mut file = text::open(path)?;
    let mut records = Vec::new();
    for number in 1.. {
        let line = text::next_line(&mut file, u64::MAX).map_err(FileError::io("read", path))?;
        let Some(Line::Whole(line)) = line else { break };
        if line.trim_ascii().is_empty() {
            continue;
        }
        let record = serde_json::from_slice(&line)
            .map_err(|error| FileError::line(path, number, json_message(&error)))?;
        records.push((number, record));
    }
    Ok(records)
}

/// What is wrong with a line of JSON. The parser's own message calls every line the first.
pub(crate) fn json_message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("{message} (column {})", error.column())
}

/// `values` as JSON lines.
pub(crate) fn to_json_lines<T: serde::Serialize>(values: &[T]) -> String {
    values
        .iter()
        .map(|value| serde_json::to_string(value).expect("plain data renders") + "\n")
        .collect()
}
