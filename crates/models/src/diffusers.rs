//! Sizes of networks that diffusers publishes as folders: `config.json` beside the weights.
//!
//! A file is read as diffusers reads it (0.42.1, `extract_init_dict` in `configuration_utils.py`): keys that begin with `_` are
//! notes, a key that is missing has the default of the class, and one that the class does not take is ignored with a
//! warning. Deviation: quantised weights, and values that are not built, are errors.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{ModelError, json::read_json};

/// A network whose parameters carry the names of a class of diffusers. Its weights are loaded with
/// [`ParamStore::load_folder`](dmdr_tensor::ParamStore::load_folder).
pub trait Diffusers {
    /// `_class_name` in `config.json`.
    const CLASS: &'static str;
    /// Every argument of the class's constructor with its default, as a JSON object.
    const DEFAULTS: &'static str;
    /// Arguments of which only one value is built, as JSON. `null` and `false` are the same.
    const FIXED: &'static [(&'static str, &'static str)] = &[];
    /// Sizes: the other arguments.
    type Config: DeserializeOwned;

    /// Writes arguments that may be given in several ways in the one way that [`Self::Config`] has.
    fn unify(_arguments: &mut Map<String, Value>) {}

    /// # Errors
    /// Sizes that contradict each other, or no network can have.
    fn check(config: &Self::Config) -> Result<(), ModelError>;
}

/// Sizes of the `N` in `folder`.
///
/// # Errors
/// An unreadable `config.json`, or one of another class, with values that are not built or do not fit together.
pub fn load_diffusers_config<N: Diffusers>(folder: &Path) -> Result<N::Config, ModelError> {
    let (path, mut fields) = config_fields(folder)?;
    let found = fields.get("_class_name").map(plain);
    if let Some(found) = found.filter(|found| found != N::CLASS) {
        return Err(ModelError::Format {
            found,
            expected: N::CLASS.to_owned(),
            path,
        });
    }
    leave_out(&mut fields);
    let defaults = defaults::<N>();
    fields.retain(|key, _| defaults.contains_key(key)); // `ignored_keys` names the others
    let mut is_given = Vec::new();
    for (key, default) in defaults {
        match fields.get(&key) {
            Some(_) => is_given.push(key),
            None => drop(fields.insert(key, default)),
        }
    }
    N::unify(&mut fields);
    for &(field, expected) in N::FIXED {
        let found = fields.remove(field).unwrap_or(Value::Null);
        let value = serde_json::from_str(expected).expect("the constant is JSON");
        if !same(&found, &value) {
            let is_given = is_given.iter().any(|key| key == field);
            let missing = if is_given {
                ""
            } else {
                "missing, which means "
            };
            return Err(ModelError::NotBuilt {
                path,
                field,
                found: format!("{missing}{found}"),
                expected,
            });
        }
    }
    let config = from_value(&path, Value::Object(fields))?;
    N::check(&config).map_err(|error| error.in_file(&path))?;
    Ok(config)
}

/// The warning of what is ignored in the `config.json` of the `N` in `folder`, as diffusers ignores it.
///
/// # Errors
/// An unreadable `config.json`.
pub fn ignored_keys<N: Diffusers>(folder: &Path) -> Result<Option<String>, ModelError> {
    let (path, mut fields) = config_fields(folder)?;
    leave_out(&mut fields);
    let defaults = defaults::<N>();
    fields.retain(|key, _| !defaults.contains_key(key));
    Ok(warning_of(&path, &fields, N::CLASS))
}

/// That `keys` of `path` are nothing `class` knows, if there are any.
pub(crate) fn warning_of(path: &Path, keys: &Map<String, Value>, class: &str) -> Option<String> {
    let names: Vec<String> = keys.keys().map(|key| format!("`{key}`")).collect();
    (!names.is_empty()).then(|| {
        format!(
            "`{}`: {class} does not know {}; ignored, as diffusers does",
            path.display(),
            names.join(", ")
        )
    })
}

/// Takes out diffusers' notes, and the values that were defaults when the file was written, of which it says so.
fn leave_out(fields: &mut Map<String, Value>) {
    if let Some(Value::Array(defaults)) = fields.remove("_use_default_values") {
        fields.retain(|key, _| !defaults.iter().any(|default| default == key));
    }
    fields.retain(|key, _| !key.starts_with('_'));
}

fn defaults<N: Diffusers>() -> Map<String, Value> {
    serde_json::from_str(N::DEFAULTS).expect("the constant is a JSON object")
}

/// Path and fields of the `config.json` in `folder`, whose weights are not quantised.
pub(crate) fn config_fields(folder: &Path) -> Result<(PathBuf, Map<String, Value>), ModelError> {
    let path = folder.join("config.json");
    let fields: Map<String, Value> = read_json(&path)?;
    if fields
        .get("quantization_config")
        .is_some_and(|value| !value.is_null())
    {
        let reason = "it has a `quantization_config`, so its weights are quantised, which are not \
                      read; use the files of the same model in f32, f16 or bf16";
        return Err(ModelError::refused(&path, reason));
    }
    Ok((path, fields))
}

/// Sizes from `value`; an error names the key that is wrong.
pub(crate) fn from_value<T: DeserializeOwned>(path: &Path, value: Value) -> Result<T, ModelError> {
    serde_path_to_error::deserialize(value).map_err(|error| {
        let key = error.path().to_string();
        let reason = error.into_inner().to_string();
        let place = if key == "." {
            String::new()
        } else {
            format!("`{key}`: ")
        };
        ModelError::refused(path, &format!("{place}{reason}"))
    })
}

/// Each of `names` must lie in `1 ..= most`: what is beyond is damaged, and would divide by zero or fill the memory.
pub(crate) fn check_range(
    network: &'static str,
    most: i64,
    sizes: &[(&str, i64)],
) -> Result<(), ModelError> {
    match sizes.iter().find(|(_, size)| !(1..=most).contains(size)) {
        None => Ok(()),
        Some((name, size)) => Err(ModelError::Sizes {
            network,
            reason: format!("{name} is {size}, expected 1 to {most}"),
        }),
    }
}

/// A list of the same number, as diffusers also takes it for all stages, as the number.
pub(crate) fn one_for_all(value: &mut Value) {
    if let Value::Array(values) = value
        && let Some(first) = values.first().cloned()
        && values.iter().all(|other| *other == first)
    {
        *value = first;
    }
}

/// What a text is, and anything else as JSON.
pub(crate) fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether two settings mean the same: `1` and `1.0` do, and so do `null` and `false`.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    let is_off = |value: &Value| matches!(value, Value::Null | Value::Bool(false));
    a == b || (is_off(a) && is_off(b)) || (a.is_number() && a.as_f64() == b.as_f64())
}
