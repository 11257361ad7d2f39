//! CLIP against transformers and open_clip, DINOv2 against timm with upstream's positions.

use std::collections::BTreeMap;

use dmdr_models::{ClipPair, ClipPairConfig, ClipVision, DinoClassifier, DinoConfig, DinoVision};
use dmdr_tensor::{Kind, ParamStore, Tensor};

use crate::fixture::{self, Fixture, device, relative_error};

/// Both towers with the weights at `weights`, in f32 and in bf16; returns the first.
fn towers(name: &str, weights: &str) -> ClipPair {
    let fixture = Fixture::read(name);
    let config: ClipPairConfig = fixture.config();
    let load = |compute| {
        let store = ParamStore::frozen(device()).with_compute(compute);
        ClipPair::load(&store, &fixture::path(weights), config.clone()).expect("fits")
    };
    let net = load(Kind::Float);
    let pixels = fixture.get("pixels").detach().set_requires_grad(true);
    let image = net.embed_image(&pixels);
    let text = net.embed_text(&fixture.get("ids").to_kind(Kind::Int64));
    fixture.agrees("image", &image);
    fixture.agrees("text", &text);
    fixture.agrees("temperature", &net.temperature());
    let cosines = (&image * text).sum(Kind::Float);
    let gradients = Tensor::run_backward(&[cosines], &[&pixels], false, false);
    fixture.agrees("grad.pixels", &gradients[0]);

    let half = load(Kind::BFloat16).embed_image(&pixels);
    assert_eq!(half.kind(), Kind::Float, "the edges are f32");
    let error = relative_error(&half, &image);
    let reference = relative_error(fixture.get("image_bf16"), &image);
    assert!(
        error > 0.0 && error < 2.0 * reference,
        "bf16: relative error {error:.2e}, the reference's {reference:.2e}"
    );
    net
}

#[test]
fn clip_of_transformers() {
    let pair = towers("clip_transformers", "clip_transformers");
    // The image tower alone, from the weights of the pair.
    let store = ParamStore::frozen(device());
    let folder = fixture::path("clip_transformers");
    let alone = ClipVision::load(&store, &folder, pair.image().config().clone()).expect("fits");
    let pixels = Tensor::zeros([1, 3, 12, 12], (Kind::Float, device()));
    assert!(alone.embed(&pixels).equal(&pair.embed_image(&pixels)));
}

#[test]
fn clip_under_the_names_of_open_clip() {
    let pair = towers("clip_open", "clip_open_weights.safetensors");
    let mut config = pair.image().config().clone();
    config.patch_size = 5;
    let root = ParamStore::shapes_only();
    let scope = dmdr_tensor::Scope::root(&root, &[]);
    let error = ClipVision::new(&scope, config).expect_err("refused");
    assert!(
        error.to_string().contains("no multiple of patch_size 5"),
        "{error}"
    );
}

#[test]
fn clip_whose_mlps_are_no_multiple_of_its_width() {
    let pair = towers("clip_open_uneven", "clip_open_uneven_weights.safetensors");
    assert_eq!(pair.image().config().intermediate_size, 36);
}

#[test]
fn dino_v2() {
    let fixture = Fixture::read("dino");
    let config: DinoConfig = fixture.config();
    let stores = [(); 2].map(|()| ParamStore::frozen(device()));
    let net = DinoClassifier::new(&stores[0], &stores[1], config.clone()).expect("sizes fit");
    fixture.fill(&stores[0], "backbone.");
    fixture.fill(&stores[1], "head.");
    let pixels = fixture.get("pixels").detach().set_requires_grad(true);
    let logits = net.forward(&pixels);
    fixture.agrees("logits", &logits);
    fixture.agrees("native_logits", &net.forward(fixture.get("native_pixels")));
    let product = (logits * fixture.get("cotangent")).sum(Kind::Float);
    let gradients = Tensor::run_backward(&[product], &[&pixels], false, false);
    fixture.agrees("grad.pixels", &gradients[0]);

    // The feature of a picture is the last class token, which the classifier reads as its fourth.
    let store = ParamStore::frozen(device());
    let vision = DinoVision::new(&store, config.clone()).expect("sizes fit");
    fixture.fill(&store, "backbone.");
    let (dim, pixels) = (config.embed_dim, fixture.get("pixels"));
    let only_last = Tensor::zeros([config.num_classes, 5 * dim], (Kind::Float, device()));
    let _ = only_last.narrow(0, 0, 1).narrow(1, 3 * dim, dim).fill_(1.0);
    let head = BTreeMap::from([
        ("weight".to_owned(), only_last),
        (
            "bias".to_owned(),
            Tensor::zeros([config.num_classes], (Kind::Float, device())),
        ),
    ]);
    stores[1]
        .load_tensors(&head, "head".as_ref())
        .expect("fits");
    let sum = vision
        .embed(pixels)
        .sum_dim_intlist(&[1i64][..], false, Kind::Float);
    let error = relative_error(&net.forward(pixels).select(1, 0), &sum);
    assert!(error < 1e-5, "{error:.2e}");

    let shallow = DinoConfig { depth: 3, ..config };
    let store = ParamStore::shapes_only;
    let error = DinoClassifier::new(&store(), &store(), shallow).expect_err("refused");
    assert!(error.to_string().contains("reads 4 blocks"), "{error}");
}
