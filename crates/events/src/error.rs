//! Errors of this crate.

use std::io;
use std::path::{Path, PathBuf};

/// Why something could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventsError {
    /// A file operation failed.
    #[error("cannot {action} `{}`: {source}{}", path.display(), hint(source))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line of a JSON-lines file is not a record.
    #[error(
        "`{}` line {line} is not a record: {message}; remove this line to go on without it, or train anew if another version \
         of dmdr wrote all of them",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// A JSON file does not hold what its name promises.
    #[error(
        "`{}` is not a valid {what}: {source}; put a whole copy back, or remove it to go on without it",
        path.display()
    )]
    Json {
        /// The file.
        path: PathBuf,
        /// The type expected.
        what: &'static str,
        /// Line, column and what was expected.
        source: serde_json::Error,
    },
    /// A new run would write into an existing one.
    #[error(
        "run folder `{}` already exists; continue it with `--resume`, or choose another `name`",
        path.display()
    )]
    RunExists {
        /// The folder.
        path: PathBuf,
    },
    /// The folder of a new run holds other files than a run's.
    #[error(
        "`{}` holds files and is no run folder, as it has no `config.toml`; choose another `name`, or move it away",
        path.display()
    )]
    Taken {
        /// The folder.
        path: PathBuf,
    },
    /// Another process writes to the run.
    #[error(
        "run folder `{}` is in use by {holder}; wait until it ends or stop it, or choose another `name`",
        path.display()
    )]
    RunInUse {
        /// The folder.
        path: PathBuf,
        /// Process, machine, time and command, as far as they are known.
        holder: String,
    },
    /// A folder is not a run.
    #[error(
        "`{}` is not a run folder: it has no `{missing}`; give the folder that `dmdr train` made, such as `runs/NAME`",
        path.display()
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// The file that every run has.
        missing: &'static str,
    },
    /// New metrics would mix with old ones.
    #[error("`{}` already has records; resume from a checkpoint or remove it", path.display())]
    MetricsExist {
        /// The file.
        path: PathBuf,
    },
    /// A name would leave its folder.
    #[error(
        "`{name}` is not a plain file name: use letters, digits, `-`, `_`, `.`, not a leading `.`"
    )]
    Name {
        /// The name.
        name: String,
    },
}

impl EventsError {
    /// Wraps an IO error with what was tried and where.
    pub fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; the disk is full: free some space and try again"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; choose a folder you may write to"
        }
        _ => "",
    }
}
