//! The emoji world's networks against plain PyTorch.

use dmdr_models::{Call, ClipConfig, Conditioning, Denoiser, Dit, DitConfig, WorldClip};
use dmdr_tensor::{AdapterId, AdapterSpec, Kind, ParamStore, Tensor};

use crate::fixture::{Fixture, device};

#[test]
fn dit_and_its_adapter() {
    let fixture = Fixture::read("dit");
    let config: DitConfig = fixture.config();
    let base = ParamStore::frozen(device());
    let lora = ParamStore::trainable(device(), 0);
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
            ..Call::default()
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
    let fixture = Fixture::read("world_clip");
    let config: ClipConfig = fixture.config();
    let store = ParamStore::frozen(device());
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
