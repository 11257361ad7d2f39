//! A fixture: tensors by name, and for networks without a folder their sizes.

use std::{collections::BTreeMap, path::PathBuf};

use dmdr_tensor::{ParamStore, Tensor, read_metadata, read_tensors};
use serde::de::DeserializeOwned;

/// Largest difference, relative to the largest value: f32 in another order of summation stays well below.
const TOLERANCE: f64 = 1e-4;

/// Where fixture `name` lies.
pub(crate) fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// Values of a fixture by name, and its file for messages.
pub(crate) struct Fixture {
    path: PathBuf,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

impl Fixture {
    pub(crate) fn read(name: &str) -> Self {
        let path = path(&format!("{name}.safetensors"));
        let tensors = read_tensors(&path).expect("tensors");
        Self { path, tensors }
    }

    /// The sizes in its metadata.
    pub(crate) fn config<C: DeserializeOwned>(&self) -> C {
        self.metadata("config")
    }

    /// Something else in its metadata.
    pub(crate) fn metadata<C: DeserializeOwned>(&self, key: &str) -> C {
        let text = &read_metadata(&self.path).expect("metadata")[key];
        serde_json::from_str(text).expect("JSON")
    }

    pub(crate) fn get(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    pub(crate) fn fill(&self, store: &ParamStore, prefix: &str) {
        let tensors = self
            .tensors
            .iter()
            .filter_map(|(name, tensor)| {
                let name = name.strip_prefix(prefix)?;
                Some((name.to_owned(), tensor.shallow_clone()))
            })
            .collect();
        store.load_tensors(&tensors, &self.path).expect("fits");
    }

    /// The largest difference is small beside the largest value.
    #[track_caller]
    pub(crate) fn agrees(&self, name: &str, got: &Tensor) {
        self.agrees_beside(name, got, 0.0);
    }

    /// The largest difference is small beside the largest value or `scale`, whichever is more: a gradient in which large
    /// terms nearly cancel carries their rounding.
    #[track_caller]
    pub(crate) fn agrees_beside(&self, name: &str, got: &Tensor, scale: f64) {
        let expected = self.get(name);
        let own = expected.abs().max().double_value(&[]);
        let error = relative_error(got, expected) * own / own.max(scale);
        assert!(error < TOLERANCE, "{name}: relative error {error:.2e}");
    }
}

/// Largest difference over the largest expected value.
#[track_caller]
pub(crate) fn relative_error(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.size(), expected.size());
    let largest = |x: &Tensor| x.abs().max().double_value(&[]);
    largest(&(got - expected)) / largest(expected)
}
