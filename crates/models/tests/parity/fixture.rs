//! A fixture: tensors by name, and for networks without a folder their sizes.

use std::{collections::BTreeMap, env, path::PathBuf};

use dmdr_tensor::{Device, Kind, ParamStore, Tensor, read_metadata, read_tensors};
use serde::de::DeserializeOwned;

/// Largest difference, relative to the largest value: f32 in another order of summation stays well below.
const TOLERANCE: f64 = 1e-4;

/// Where networks compute: on the CPU, or where `DMDR_TEST_DEVICE` says, as `scripts/gpu-check` does.
pub(crate) fn device() -> Device {
    let name = env::var("DMDR_TEST_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    dmdr_tensor::device(&name).expect("it is there")
}

/// This crate's folder. The program may have been brought from elsewhere.
pub(crate) fn folder() -> PathBuf {
    env::var_os("CARGO_MANIFEST_DIR")
        .expect("cargo and gpu-check set it")
        .into()
}

/// Where fixture `name` lies.
pub(crate) fn path(name: &str) -> PathBuf {
    folder().join("tests/fixtures").join(name)
}

/// Values of a fixture by name, and its file for messages.
pub(crate) struct Fixture {
    path: PathBuf,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

impl Fixture {
    pub(crate) fn read(name: &str) -> Self {
        let path = path(&format!("{name}.safetensors"));
        let tensors = read_tensors(&path).expect("tensors").into_iter();
        let tensors = tensors.map(|(name, tensor)| (name, tensor.to_device(device())));
        Self {
            path,
            tensors: tensors.collect(),
        }
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
        self.compare(name, got, 0.0, TOLERANCE);
    }

    /// The largest difference is below `tolerance` of the largest value or of `scale`, whichever is more.
    #[track_caller]
    pub(crate) fn compare(&self, name: &str, got: &Tensor, scale: f64, tolerance: f64) {
        let expected = self.get(name);
        let own = expected.abs().max().double_value(&[]);
        let error = relative_error(got, expected) * own / own.max(scale);
        assert!(error < tolerance, "{name}: relative error {error:.2e}");
    }
}

/// Largest difference over the largest expected value.
#[track_caller]
pub(crate) fn relative_error(got: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(got.size(), expected.size());
    let largest = |x: &Tensor| x.abs().max().double_value(&[]);
    largest(&(got - expected)) / largest(expected)
}

/// The image of `rewards.py`, `[1, 3, H, W]`: all frequencies, in steps of 1/255.
pub(crate) fn chirp([height, width]: [i64; 2]) -> Tensor {
    let range = |end| Tensor::arange(end, (Kind::Int64, device()));
    let (y, x) = (range(height).unsqueeze(1), range(width));
    let channel = range(3).reshape([3, 1, 1]);
    let phase: Tensor = &x * &x * 3 + &y * &y * 5 + &x * &y * 7 + channel * 90;
    let image = phase.remainder(256).to_kind(Kind::Float) / 255.0;
    image.unsqueeze(0)
}

/// The numbers of `rewards.py` between -1 and 1.
pub(crate) fn numbers(shape: &[i64], salt: i64) -> Tensor {
    let count = shape.iter().product::<i64>();
    let mut x = Tensor::arange(count, (Kind::Int64, device())) + 7919 * salt;
    for _ in 0..3 {
        x = (x * 48_271 + 11).remainder(2_147_483_647);
        x = x.bitwise_xor_tensor(&x.bitwise_right_shift_tensor_scalar(15));
    }
    let numbers = x.to_kind(Kind::Double) / f64::from(1 << 30) - 1.0;
    numbers.to_kind(Kind::Float).reshape(shape)
}

/// Fills `store` with the weights of `rewards.py`, and returns them.
pub(crate) fn fill(store: &ParamStore) -> BTreeMap<String, Tensor> {
    let weight = |((name, shape), salt): ((String, Vec<i64>), i64)| {
        let fan_in = shape[1..].iter().product::<i64>() as f64;
        let bound = if shape.len() > 1 {
            (6.0 / fan_in).sqrt()
        } else {
            0.1
        };
        (name, numbers(&shape, salt) * bound)
    };
    let weights = store.shapes().into_iter().zip(0..).map(weight).collect();
    store
        .load_tensors(&weights, "numbers".as_ref())
        .expect("fits");
    weights
}
