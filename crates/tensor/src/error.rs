//! What can go wrong with tensors and weight files.

use std::path::PathBuf;

use crate::weights::LoadReport;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// A device name that is neither `cpu`, `cuda` nor `cuda:N`.
    #[error("unknown device `{name}`: expected `cpu`, `cuda` or `cuda:N`")]
    UnknownDevice {
        /// As written in the config.
        name: String,
    },
    /// A CUDA device that libtorch does not see.
    #[error("device `{name}` is not there: libtorch sees {count} CUDA devices")]
    NoSuchDevice {
        /// As written in the config.
        name: String,
        /// Devices found.
        count: usize,
    },
    /// libtorch refused an operation; only the first line of its message is kept.
    #[error("{what}: {message}")]
    Torch {
        /// What was attempted.
        what: String,
        /// First line of libtorch's message.
        message: String,
    },
    /// A weight file that cannot be opened or read.
    #[error("cannot read weights `{path}`: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A weight file that is not valid safetensors.
    #[error("`{path}` is not a usable safetensors file: {reason}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Names or shapes that differ from what the network asks for.
    #[error("`{path}` does not fit the network: {report}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The differences.
        report: Box<LoadReport>,
    },
    /// A weight file that cannot be written.
    #[error(transparent)]
    Write(#[from] dmdr_events::EventsError),
    /// An adapter pattern that names no layer.
    #[error("adapter target `{pattern}` matches no linear layer; layers are e.g. {examples}")]
    TargetMatchesNothing {
        /// The pattern.
        pattern: String,
        /// A few layer names.
        examples: String,
    },
}

impl TensorError {
    /// Wraps a libtorch message, cut to its first line: the rest is C++ frames.
    pub(crate) fn torch(what: impl Into<String>, message: &str) -> Self {
        let message = message.lines().next().unwrap_or("").trim().to_owned();
        Self::Torch {
            what: what.into(),
            message,
        }
    }
}
