//! Reading and rendering of documents, and [`Document`]: any of the kinds.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use toml::de::{DeTable, Deserializer};

use crate::error::ConfigError;
use crate::experiment::Experiment;
use crate::hint::hint;
use crate::overrides;
use crate::pretrain::Pretrain;
use crate::table::Table;

/// A configuration file of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// For `dmdr train`.
    Experiment(Box<Experiment>),
    /// For `dmdr pretrain`.
    Pretrain(Box<Pretrain>),
    /// For `dmdr eval table`.
    Table(Box<Table>),
}

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

impl Document {
    /// Finds out which kind of document a file is, and loads it.
    ///
    /// # Errors
    /// As [`Experiment::load`], and when the file is of neither kind.
    pub fn load(path: impl AsRef<Path>, overrides: &[String]) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = read(path)?;
        match Kind::of(path, &text)? {
            Kind::Experiment => Experiment::parse(path, &text, overrides)
                .map(|experiment| Self::Experiment(Box::new(experiment))),
            Kind::Pretrain => Pretrain::parse(path, &text, overrides)
                .map(|pretrain| Self::Pretrain(Box::new(pretrain))),
            Kind::Table => {
                Table::parse(path, &text, overrides).map(|table| Self::Table(Box::new(table)))
            }
        }
    }

    /// Name of the run.
    pub fn name(&self) -> &str {
        match self {
            Self::Experiment(experiment) => &experiment.name,
            Self::Pretrain(pretrain) => &pretrain.name,
            Self::Table(table) => &table.name,
        }
    }

    /// `experiment`, `pretrain` or `table`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Experiment(_) => "experiment",
            Self::Pretrain(_) => "pretrain",
            Self::Table(_) => "table",
        }
    }

    /// The resolved configuration, defaults included.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Experiment(experiment) => experiment.to_toml(),
            Self::Pretrain(pretrain) => pretrain.to_toml(),
            Self::Table(table) => table.to_toml(),
        }
    }

    /// Short stable hash of the resolved configuration.
    pub fn hash(&self) -> String {
        hash(&self.to_toml())
    }

    /// What is allowed but probably not meant.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Experiment(experiment) => experiment.warnings(),
            Self::Pretrain(pretrain) => pretrain.warnings(),
            Self::Table(_) => Vec::new(),
        }
    }

    /// Every file the configuration names, with its key.
    pub fn referenced_files(&self) -> Vec<ReferencedFile> {
        match self {
            Self::Experiment(experiment) => experiment.referenced_files(),
            Self::Pretrain(pretrain) => pretrain.referenced_files(),
            Self::Table(table) => table.referenced_files(),
        }
    }
}

/// Kind of a document, told by the top-level tables only one of them has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Experiment,
    Pretrain,
    Table,
}

impl Kind {
    fn of(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let tree = tree(path, text)?;
        Self::of_tree(&tree).ok_or_else(|| {
            let found: Vec<_> = tree.keys().map(|key| format!("`{}`", key.get_ref())).collect();
            ConfigError::Kind {
                path: path.to_owned(),
                message: format!(
                    "found the top-level keys {}, expected `method` (an experiment, for `dmdr train`), \
                     `model` (for `dmdr pretrain`) or `models` (for `dmdr eval table`), and no two of them",
                    if found.is_empty() { "(none)".to_owned() } else { found.join(", ") }
                ),
            }
        })
    }

    fn of_tree(tree: &DeTable<'_>) -> Option<Self> {
        let has = |name: &str| tree.contains_key(name);
        match (has("method"), has("model"), has("models")) {
            (true, false, false) => Some(Self::Experiment),
            (false, true, false) => Some(Self::Pretrain),
            (false, false, true) => Some(Self::Table),
            _ => None,
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Experiment => {
                "this file has `[method]`: it is an experiment, run it with `dmdr train`"
            }
            Self::Pretrain => {
                "this file has `[model]` and no `[method]`: run it with `dmdr pretrain`"
            }
            Self::Table => "this file has `[[models]]`: run it with `dmdr eval table --config`",
        }
    }
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Text and overrides to a value; errors point into the text or name the override.
pub(crate) fn parse<T: DeserializeOwned>(
    path: &Path,
    text: &str,
    arguments: &[String],
    kind: Kind,
) -> Result<T, ConfigError> {
    let mut tree = spanned_tree(path, text)?;
    if let Some(found) = Kind::of_tree(tree.get_ref())
        && found != kind
    {
        return Err(ConfigError::Kind {
            path: path.to_owned(),
            message: found.advice().to_owned(),
        });
    }
    overrides::apply(tree.get_mut(), arguments)?;
    T::deserialize(Deserializer::from(tree)).map_err(|mut error| {
        let hint = hint(error.message());
        if let Some(argument) = overrides::culprit(&error, arguments) {
            return ConfigError::Override {
                argument: argument.clone(),
                message: error.message().to_owned(),
                hint,
            };
        }
        error.set_input(Some(text));
        ConfigError::Parse {
            path: path.to_owned(),
            message: error.to_string(),
            hint,
        }
    })
}

fn tree<'a>(path: &Path, text: &'a str) -> Result<DeTable<'a>, ConfigError> {
    spanned_tree(path, text).map(toml::Spanned::into_inner)
}

fn spanned_tree<'a>(path: &Path, text: &'a str) -> Result<toml::Spanned<DeTable<'a>>, ConfigError> {
    DeTable::parse(text).map_err(|error| ConfigError::Parse {
        path: path.to_owned(),
        message: error.to_string(),
        hint: None,
    })
}

/// A value as TOML.
pub(crate) fn render(value: &impl Serialize) -> String {
    toml::to_string(value).expect("every integer of a configuration fits TOML's 64 signed bits")
}

/// The first 16 hexadecimal digits of SHA-256.
pub(crate) fn hash(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
