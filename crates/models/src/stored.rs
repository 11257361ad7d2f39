//! Weight files that describe themselves: format name and sizes stand in the safetensors metadata.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dmdr_tensor::{Kind, ParamStore, TensorError, read_metadata};
use serde::{Serialize, de::DeserializeOwned};

/// A network whose weight files carry its config.
pub trait Stored {
    /// Name in the file's metadata, so that a reward is never loaded as a teacher.
    const FORMAT: &'static str;
    /// Sizes.
    type Config: Serialize + DeserializeOwned;

    /// Writes `store` with format, config and notes (command, seed, commit ...), atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save(
        store: &ParamStore,
        config: &Self::Config,
        path: &Path,
        kind: Kind,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), ModelError> {
        let mut metadata = notes.clone();
        metadata.insert("format".into(), Self::FORMAT.into());
        let config = serde_json::to_string(config).expect("plain numbers serialise");
        metadata.insert("config".into(), config);
        Ok(store.save(path, kind, &metadata)?)
    }
}

/// Sizes of the `N` in `path`.
///
/// # Errors
/// An unreadable file, or one of another format or with an unreadable config.
pub fn load_config<N: Stored>(path: &Path) -> Result<N::Config, ModelError> {
    let metadata = read_metadata(path)?;
    let found = format_in(&metadata);
    if found != N::FORMAT {
        return Err(ModelError::Format {
            path: path.to_owned(),
            expected: N::FORMAT.to_owned(),
            found,
        });
    }
    let config = metadata.get("config").map_or("", String::as_str);
    serde_json::from_str(config).map_err(|source| ModelError::Config {
        path: path.to_owned(),
        source,
    })
}

/// The format that the header of the file `path` names, or `none`.
///
/// # Errors
/// An unreadable file.
pub(crate) fn format_of(path: &Path) -> Result<String, ModelError> {
    Ok(format_in(&read_metadata(path)?))
}

fn format_in(metadata: &BTreeMap<String, String>) -> String {
    let format = metadata.get("format");
    format.map_or("none".to_owned(), String::clone)
}

/// Errors of building and loading networks.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Weights, adapters.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A weight file of another kind of network.
    #[error("`{path}` holds `{found}` weights; expected `{expected}`")]
    Format {
        /// The file.
        path: PathBuf,
        /// Wanted.
        expected: String,
        /// In the metadata.
        found: String,
    },
    /// Sizes, in a weight file's metadata or a `config.json`, that cannot be understood.
    #[error("`{path}`: unreadable network config: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// A setting in a `config.json` that asks for a form of the network that is not built here.
    #[error("`{path}`: `{field}` is {found}, but only {expected} is built")]
    NotBuilt {
        /// The file.
        path: PathBuf,
        /// The setting.
        field: &'static str,
        /// Its value, as JSON.
        found: String,
        /// The value that is built, as JSON.
        expected: &'static str,
    },
    /// A published file that cannot be used as it is.
    #[error("`{path}`: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// A tokenizer that cannot be used, or a prompt that it refuses.
    #[error("tokenizer `{path}`: {reason}")]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A cache of encoded prompts that cannot be used, or lacks a prompt.
    #[error("`{path}`: {reason}")]
    Cache {
        /// The folder or the file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A `config.json` or a file of a tokenizer or a cache that cannot be opened.
    #[error("cannot read `{path}`: {source}{}", hint(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// Blocks to tap that a network does not have.
    #[error("tapped blocks: {reason}")]
    Taps {
        /// What is wrong.
        reason: String,
    },
    /// Sizes that contradict each other.
    #[error("sizes of {network}: {reason}")]
    Sizes {
        /// The network.
        network: &'static str,
        /// The contradiction.
        reason: String,
    },
}

/// A file that is missing is the usual cause: a pipeline that was copied or downloaded in part.
fn hint(source: &std::io::Error) -> &'static str {
    if source.kind() == std::io::ErrorKind::NotFound {
        "; the folder is not whole: download it again, or save it again with `save_pretrained`"
    } else {
        ""
    }
}

impl ModelError {
    /// Sizes that contradict each other, in the file that states them.
    pub(crate) fn in_file(self, path: &Path) -> Self {
        match self {
            Self::Sizes { .. } => Self::refused(path, &self.to_string()),
            other => other,
        }
    }

    pub(crate) fn refused(path: &Path, reason: &str) -> Self {
        Self::Refused {
            path: path.to_owned(),
            reason: reason.to_owned(),
        }
    }
}
