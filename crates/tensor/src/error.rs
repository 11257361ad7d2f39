//! What can go wrong with tensors and weight files.

use std::path::{Path, PathBuf};

use crate::{PlaceError, load_report::LoadReport};

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
    #[error("device `{name}` is not there: libtorch sees {count} CUDA devices ({cuda})")]
    NoSuchDevice {
        /// As written in the config.
        name: String,
        /// Devices found.
        count: usize,
        /// The part of libtorch, the driver and its cards, in words.
        cuda: String,
    },
    /// No CUDA part of libtorch.
    #[error("device `{name}`: {reason}")]
    NoCuda {
        /// As written in the config.
        name: String,
        /// What is missing, and how to get it.
        reason: String,
    },
    /// libtorch refused an operation; only the first line of its message is kept.
    #[error("{what}: {message}")]
    Torch {
        /// What was attempted.
        what: String,
        /// First line of libtorch's message.
        message: String,
    },
    /// Another process that trains with this one is lost.
    #[error("process {rank} of {ranks} cannot go on: {reason}")]
    Rank {
        /// This one.
        rank: u64,
        /// How many there are.
        ranks: u64,
        /// Which one is lost, and how.
        reason: String,
    },
    /// Variables of a launcher that do not fit together.
    #[error(transparent)]
    Place(#[from] PlaceError),
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
    /// A weight file that could run code when read.
    #[error(
        "`{path}` is a pickle, which can run code and is never read; convert it first: \
         `python3 tools/convert_pickle.py {path} {target}`"
    )]
    Pickle {
        /// The file.
        path: PathBuf,
        /// What it should become.
        target: PathBuf,
    },
    /// A folder without weights.
    #[error(
        "no weights in `{folder}`: expected `{expected}`, or shards and `{expected}.index.json`{found}"
    )]
    NoWeights {
        /// The folder.
        folder: PathBuf,
        /// Name of the one file.
        expected: String,
        /// What is there instead, and the way out, if anything is.
        found: String,
    },
    /// An index of shards that cannot be used.
    #[error("`{path}` is not a usable index of shards: {reason}")]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A shard that the index names is not there.
    #[error("`{index}` names the shard `{shard}`, which is missing: download it as well")]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The file.
        shard: String,
    },
    /// A shard and its index disagree.
    #[error("shard `{shard}` and `{index}` disagree: tensor `{tensor}` is only in the {place}")]
    ShardContent {
        /// The file.
        shard: PathBuf,
        /// The index.
        index: PathBuf,
        /// The first tensor that differs.
        tensor: String,
        /// `shard` or `index`.
        place: &'static str,
    },
    /// Names or shapes that differ from what the network asks for.
    #[error("`{path}` does not fit the network: {report}")]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// The differences.
        report: Box<LoadReport>,
    },
    /// A value that the kind of a file cannot hold. Nothing was written.
    #[error(
        "`{path}` is not written: tensor `{name}` has a value of {largest:.0}, which is too large for {kind}; \
         use bf16 or f32 (`dmdr export --dtype`)"
    )]
    Overflow {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its largest magnitude.
        largest: f64,
        /// The number format of the file.
        kind: &'static str,
    },
    /// A tensor with NaN or an infinity. Nothing was written.
    #[error("`{path}` is not written: tensor `{name}` holds NaN or an infinity")]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A weight file that cannot be written.
    #[error(transparent)]
    Write(#[from] dmdr_events::EventsError),
    /// An adapter pattern that names no layer.
    #[error("adapter target `{pattern}` matches no layer; layers are e.g. {examples}")]
    TargetMatchesNothing {
        /// The pattern.
        pattern: String,
        /// A few layer names.
        examples: String,
    },
}

impl TensorError {
    pub(crate) fn pickle(path: &Path) -> Self {
        Self::Pickle {
            path: path.to_owned(),
            target: path.with_extension("safetensors"),
        }
    }

    /// Wraps a libtorch message, cut to its first line: the rest is C++ frames.
    pub(crate) fn torch(what: impl Into<String>, message: &str) -> Self {
        let message = message.lines().next().unwrap_or("").trim().to_owned();
        Self::Torch {
            what: what.into(),
            message,
        }
    }
}
