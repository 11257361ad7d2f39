//! Sizes of networks that diffusers publishes as folders: `config.json` beside the weights.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::ModelError;

/// A network whose parameters carry the names of a class of diffusers. Its weights are loaded with
/// [`ParamStore::load_folder`](dmdr_tensor::ParamStore::load_folder).
pub trait Diffusers {
    /// `_class_name` in `config.json`.
    const CLASS: &'static str;
    /// Sizes.
    type Config: DeserializeOwned;
}

/// Sizes of the `N` in `folder`.
///
/// # Errors
/// An unreadable `config.json`, or one of another class or with unknown or missing fields.
pub fn load_diffusers_config<N: Diffusers>(folder: &Path) -> Result<N::Config, ModelError> {
    let (path, mut fields) = config_fields(folder)?;
    let found = fields.get("_class_name").and_then(Value::as_str);
    if found != Some(N::CLASS) {
        return Err(ModelError::Format {
            found: found.unwrap_or("none").to_owned(),
            expected: N::CLASS,
            path,
        });
    }
    fields.retain(|name, _| !name.starts_with('_')); // diffusers' own notes
    serde_json::from_value(Value::Object(fields))
        .map_err(|source| ModelError::Config { path, source })
}

/// Path and fields of the `config.json` in `folder`.
pub(crate) fn config_fields(folder: &Path) -> Result<(PathBuf, Map<String, Value>), ModelError> {
    let path = folder.join("config.json");
    let text = fs::read_to_string(&path).map_err(|source| ModelError::Read {
        path: path.clone(),
        source,
    })?;
    match serde_json::from_str(&text) {
        Ok(fields) => Ok((path, fields)),
        Err(source) => Err(ModelError::Config { path, source }),
    }
}
