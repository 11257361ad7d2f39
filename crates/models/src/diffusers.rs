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
    /// Fields of `config.json` of which only one value is built, as JSON; a file may leave them out. `null` and `false`
    /// are the same.
    const FIXED: &'static [(&'static str, &'static str)] = &[];
    /// Sizes.
    type Config: DeserializeOwned;
}

/// Sizes of the `N` in `folder`.
///
/// # Errors
/// An unreadable `config.json`, or one of another class, with unknown or missing fields or values that are not built.
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
    for &(field, expected) in N::FIXED {
        let Some(found) = fields.remove(field) else {
            continue;
        };
        let value = serde_json::from_str(expected).expect("the constant is JSON");
        if !same(&found, &value) {
            return Err(ModelError::NotBuilt {
                path,
                field,
                found: found.to_string(),
                expected,
            });
        }
    }
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

/// Whether two settings mean the same: `1` and `1.0` do, and so do `null` and `false`.
fn same(a: &Value, b: &Value) -> bool {
    let is_off = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
    a == b || (is_off(a) && is_off(b)) || (a.is_number() && a.as_f64() == b.as_f64())
}
