//! FID's Inception against torch-fidelity's, at full size.

use std::collections::BTreeMap;

use dmdr_models::Inception;
use dmdr_tensor::{Kind, ParamStore, Tensor, write_tensors};

use crate::fixture::{Fixture, chirp, device, numbers};

/// The weights of `fidelity.py`.
fn weights() -> BTreeMap<String, Tensor> {
    let store = ParamStore::shapes_only();
    let _net = Inception::new(&store);
    let weight = |((name, shape), salt): ((String, Vec<i64>), i64)| {
        let values = numbers(&shape, salt);
        let values = if shape.len() > 1 {
            values * (6.0 / shape[1..].iter().product::<i64>() as f64).sqrt()
        } else if name.ends_with("bn.weight") || name.ends_with("bn.running_var") {
            values * 0.1 + 1.0
        } else {
            values * 0.1
        };
        (name, values)
    };
    store.shapes().into_iter().zip(0..).map(weight).collect()
}

#[test]
fn features_of_a_published_file() {
    let mut tensors = weights();
    let empty = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, device()));
    tensors.insert("fc.weight".to_owned(), empty(&[1008, 2048]));
    let counter = "Mixed_5b.branch1x1.bn.num_batches_tracked".to_owned();
    tensors.insert(counter, empty(&[]));
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("inception.safetensors");
    write_tensors(&path, &tensors, Kind::Float, &BTreeMap::new()).expect("writable");
    let net = Inception::load(&path, device()).expect("fits");
    let fixture = Fixture::read("inception");
    // Enlarged, and reduced.
    for size in [[64, 64], [427, 310]] {
        let image = chirp(size);
        // A little off: pictures are of 8 bits.
        let images = Tensor::cat(&[&image + 0.001, image.flip([-1i64])], 0);
        let features = net.features(&images);
        let name = |part: &str| format!("{part}.{}x{}", size[0], size[1]);
        fixture.agrees(&name("pooled"), &features.pooled);
        fixture.agrees(&name("spatial"), &features.spatial);
    }
    tensors.remove("Mixed_7c.branch_pool.conv.weight");
    write_tensors(&path, &tensors, Kind::Float, &BTreeMap::new()).expect("writable");
    let error = Inception::load(&path, device()).expect_err("refused");
    assert!(error.to_string().contains("Mixed_7c"), "{error}");
}
