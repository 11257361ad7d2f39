//! LPIPS against the package `lpips`, at full size.

use std::collections::BTreeMap;

use dmdr_config::LpipsTrunk;
use dmdr_models::Lpips;
use dmdr_tensor::{Kind, ParamStore, Tensor, write_tensors};

use crate::fixture::{Fixture, chirp, device, fill, numbers, relative_error};

/// The metric with the fixture's weights, and what they are.
fn metric(trunk: LpipsTrunk) -> (Lpips, [BTreeMap<String, Tensor>; 2]) {
    let stores = [(); 2].map(|()| ParamStore::frozen(device()));
    let net = Lpips::new(&stores[0], &stores[1], trunk);
    let features = fill(&stores[0]);
    let shapes = stores[1].shapes().into_iter().zip(100..);
    let linear = shapes.map(|((name, shape), salt)| (name, numbers(&shape, salt).abs()));
    let linear = linear.collect();
    stores[1]
        .load_tensors(&linear, "numbers".as_ref())
        .expect("fits");
    (net, [features, linear])
}

/// Two images whose corners differ.
fn images() -> [Tensor; 2] {
    [chirp([64, 64]), chirp([64, 80]).narrow(3, 16, 64)]
}

#[test]
fn both_trunks() {
    let fixture = Fixture::read("lpips");
    for (name, trunk) in [("vgg", LpipsTrunk::Vgg), ("alex", LpipsTrunk::Alex)] {
        let (net, _) = metric(trunk);
        let [a, b] = images();
        let a = a.set_requires_grad(true);
        let distance = net.forward(&a, &b);
        fixture.agrees(name, &distance);
        let gradients = Tensor::run_backward(&[distance], &[&a], false, false);
        fixture.agrees(&format!("grad.{name}"), &gradients[0]);
    }
}

#[test]
fn a_distance_is_symmetric_and_zero_between_equals_even_black_ones() {
    let (net, _) = metric(LpipsTrunk::Alex);
    let [a, b] = images();
    let error = relative_error(&net.forward(&b, &a), &net.forward(&a, &b));
    assert!(error < 1e-6, "{error:.2e}");
    let black = a.zeros_like().set_requires_grad(true);
    let distance = net.forward(&black, &black.detach());
    assert_eq!(distance.double_value(&[0]).to_bits(), 0.0f64.to_bits());
    let gradients = Tensor::run_backward(&[distance], &[&black], false, false);
    assert!(gradients[0].isfinite().all().int64_value(&[]) == 1);
}

#[test]
fn published_files_load_without_the_classifier() {
    let (net, [mut features, linear]) = metric(LpipsTrunk::Alex);
    let classifier = Tensor::zeros([2, 3], (Kind::Float, device()));
    features.insert("classifier.1.weight".to_owned(), classifier);
    let dir = tempfile::tempdir().expect("temp dir");
    let paths = ["alexnet.safetensors", "alex.safetensors"].map(|name| dir.path().join(name));
    for (path, tensors) in paths.iter().zip([&features, &linear]) {
        write_tensors(path, tensors, Kind::Float, &BTreeMap::new()).expect("writable");
    }
    let [a, b] = images();
    let load = |linear| Lpips::load(&paths[0], linear, LpipsTrunk::Alex, device());
    let loaded = load(&paths[1]).expect("fits");
    assert!(loaded.forward(&a, &b).equal(&net.forward(&a, &b)));
    let error = load(&paths[0]).expect_err("the wrong file").to_string();
    assert!(error.contains("lin0.model.1.weight"), "{error}");
}
