//! Sizes of networks that diffusers publishes as folders: `config.json` beside the weights.

use std::{fs, path::Path};

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
    let path = folder.join("config.json");
    let unreadable = |source| ModelError::Config {
        path: path.clone(),
        source,
    };
    let text = fs::read_to_string(&path).map_err(|source| ModelError::Read {
        path: path.clone(),
        source,
    })?;
    let mut fields: Map<String, Value> = serde_json::from_str(&text).map_err(unreadable)?;
    let found = fields.get("_class_name").and_then(Value::as_str);
    if found != Some(N::CLASS) {
        return Err(ModelError::Format {
            found: found.unwrap_or("none").to_owned(),
            expected: N::CLASS,
            path,
        });
    }
    fields.retain(|name, _| !name.starts_with('_')); // diffusers' own notes
    serde_json::from_value(Value::Object(fields)).map_err(unreadable)
}
