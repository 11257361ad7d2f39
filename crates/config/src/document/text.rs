//! From text to a value and back: reading, parsing, rendering and hashing.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use toml::de::{DeTable, Deserializer};

use crate::error::ConfigError;
use crate::hint::hint;
use crate::overrides;

/// Kind of a document, told by the top-level tables only one of them has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Experiment,
    Pretrain,
    Table,
}

impl Kind {
    pub(super) fn of(path: &Path, text: &str) -> Result<Self, ConfigError> {
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
pub(super) fn read(path: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })
}

/// Text and overrides to a value; errors point into the text or name the override.
pub(super) fn parse<T: DeserializeOwned>(
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
pub(super) fn render(value: &impl Serialize) -> String {
    toml::to_string(value).expect("every integer of a configuration fits TOML's 64 signed bits")
}

/// The first 16 hexadecimal digits of SHA-256.
pub(super) fn hash(text: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}
