//! Agreement with PyTorch to 1e-4, on fixtures made by `make parity`: values and gradients.

use std::{collections::BTreeMap, path::PathBuf};

use dmdr_models::{Call, ClipConfig, Conditioning, Denoiser, Dit, DitConfig, WorldClip};
use dmdr_tensor::{
    AdapterId, AdapterSpec, Device, Kind, ParamStore, Tensor, read_metadata, read_tensors,
};
use serde::de::DeserializeOwned;

/// Values of a fixture by name, and its file for messages.
struct Fixture {
    path: PathBuf,
    tensors: BTreeMap<String, Tensor>,
}

impl Fixture {
    /// A fixture and the sizes in its metadata.
    fn read<C: DeserializeOwned>(name: &str) -> (Self, C) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(format!("tests/fixtures/{name}.safetensors"));
        let config = &read_metadata(&path).expect("metadata")["config"];
        let config = serde_json::from_str(config).expect("sizes");
        let tensors = read_tensors(&path).expect("tensors");
        (Self { path, tensors }, config)
    }

    fn get(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    fn fill(&self, store: &ParamStore, prefix: &str) {
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
    fn agrees(&self, name: &str, got: &Tensor) {
        let expected = self.get(name);
        assert_eq!(got.size(), expected.size(), "{name}");
        let largest = |x: &Tensor| x.abs().max().double_value(&[]);
        let error = largest(&(got - expected)) / largest(expected);
        assert!(error < 1e-4, "{name}: relative error {error:.2e}");
    }
}

#[test]
fn dit_and_its_adapter() {
    let (fixture, config): (_, DitConfig) = Fixture::read("dit");
    let base = ParamStore::frozen(Device::Cpu);
    let lora = ParamStore::trainable(Device::Cpu, 0);
    let targets = ["blocks.*".to_owned()];
    let specs = [AdapterSpec::new(3, 6.0, &targets, lora.clone())];
    let net = Dit::new(&base, &specs, config).expect("targets match");
    fixture.fill(&base, "weights.");
    fixture.fill(&lora, "lora.");

    let cond = Conditioning {
        tokens: fixture.get("tokens").shallow_clone(),
        pooled: fixture.get("pooled").shallow_clone(),
    };
    let x_t = fixture.get("x_t").detach().set_requires_grad(true);
    let output = |train: bool, scale: f64| {
        let adapters = [(AdapterId(0), scale)];
        let call = Call {
            train,
            adapters: &adapters,
        };
        net.forward(&x_t, fixture.get("t"), &cond, &call)
    };
    fixture.agrees("output", &output(true, 0.0));
    fixture.agrees("output_lora", &output(true, 0.75));
    fixture.agrees("output_lora", &output(false, 0.75));

    let group = lora.group();
    let pair: Vec<(String, Tensor)> = group
        .names
        .iter()
        .zip(&group.tensors)
        .map(|(name, tensor)| (format!("grad.{name}"), tensor.shallow_clone()))
        .filter(|(name, _)| fixture.tensors.contains_key(name))
        .collect();
    assert_eq!(pair.len(), 2, "one pair: {pair:?}");
    let mut inputs = vec![x_t.shallow_clone()];
    inputs.extend(pair.iter().map(|(_, tensor)| tensor.shallow_clone()));
    let product = (output(true, 0.75) * fixture.get("cotangent")).sum(Kind::Float);
    let gradients = Tensor::run_backward(&[product], &inputs, false, false);
    fixture.agrees("grad.x_t", &gradients[0]);
    for ((name, _), gradient) in pair.iter().zip(&gradients[1..]) {
        fixture.agrees(name, gradient);
    }
}

#[test]
fn both_towers() {
    let (fixture, config): (_, ClipConfig) = Fixture::read("world_clip");
    let store = ParamStore::frozen(Device::Cpu);
    let net = WorldClip::new(&store, config);
    fixture.fill(&store, "weights.");
    let ids = &fixture.get("ids").to_kind(Kind::Int64);
    let images = fixture.get("images").detach().set_requires_grad(true);
    let cond = net.condition(ids);
    fixture.agrees("tokens", &cond.tokens);
    fixture.agrees("pooled", &cond.pooled);
    let score = net.score(&images, ids);
    fixture.agrees("score", &score);
    let total = score.sum(Kind::Float);
    let gradient = Tensor::run_backward(&[total], &[&images], false, false).remove(0);
    fixture.agrees("grad.images", &gradient);
}
