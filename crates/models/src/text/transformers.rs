//! Networks that transformers publishes as folders: `config.json` beside the weights.

use std::path::Path;

use dmdr_tensor::ParamStore;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::{
    ModelError,
    diffusers::{config_fields, from_value},
};

/// The name transformers gives weights.
pub(crate) const TRANSFORMERS_WEIGHTS: &str = "model.safetensors";

/// A network whose parameters carry the names of a class of transformers.
pub trait Transformers: Sized {
    /// What `architectures` in `config.json` may say, where it says anything.
    const ARCHITECTURES: &'static [&'static str];
    /// Defaults of transformers' class of sizes, as a JSON object.
    const DEFAULTS: &'static str;
    /// Sizes; fields of `config.json` that only matter for training are not read.
    type Config: DeserializeOwned;

    /// Builds the network with parameters in `store`, all zeros.
    ///
    /// # Errors
    /// Sizes that contradict each other, or a form of the network that is not built.
    fn new(store: &ParamStore, config: Self::Config) -> Result<Self, ModelError>;

    /// The parameter's name of a tensor of published weights; none if the network does not need it, as it is a second
    /// name of shared weights or a constant.
    fn rename(stored: &str) -> Option<String>;

    /// The network in `folder`, with parameters in `store`.
    ///
    /// # Errors
    /// As for [`load_transformers_config`], [`Self::new`] and [`ParamStore::load_folder_of`].
    fn load(store: &ParamStore, folder: &Path) -> Result<Self, ModelError> {
        let config = load_transformers_config::<Self>(folder)?;
        let net =
            Self::new(store, config).map_err(|error| error.in_file(&folder.join("config.json")))?;
        store.load_folder_of(folder, TRANSFORMERS_WEIGHTS, &Self::rename)?;
        Ok(net)
    }
}

/// Sizes of the `N` in `folder`.
///
/// # Errors
/// An unreadable `config.json`, or one of another class or with values that cannot be understood.
pub fn load_transformers_config<N: Transformers>(folder: &Path) -> Result<N::Config, ModelError> {
    let (path, mut fields) = config_fields(folder)?;
    let found = fields
        .get("architectures")
        .and_then(|names| names.get(0))
        .and_then(Value::as_str);
    let found = found.unwrap_or(N::ARCHITECTURES[0]).to_owned();
    if !N::ARCHITECTURES.contains(&found.as_str()) {
        return Err(ModelError::Format {
            found,
            expected: N::ARCHITECTURES[0].to_owned(),
            path,
        });
    }
    fields.insert("architectures".to_owned(), [found].as_slice().into());
    let defaults: Map<String, Value> =
        serde_json::from_str(N::DEFAULTS).expect("the constant is a JSON object");
    for (key, default) in defaults {
        fields.entry(key).or_insert(default);
    }
    from_value(&path, Value::Object(fields))
}
