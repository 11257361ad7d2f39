//! SiT against an independent PyTorch module.

use dmdr_diffusion::Schedule;
use dmdr_models::{Interpolant, Sit, SitConfig};
use dmdr_tensor::{AdapterPlace, AdapterSpec, Kind, ParamStore, Tensor};

use crate::{
    backbone::Backbone,
    fixture::{Fixture, device, relative_error},
};

fn agrees(name: &str) -> SitConfig {
    agrees_at(name, &Sit::LORA_TARGETS, AdapterPlace::Weights)
}

fn agrees_at(name: &str, targets: &[&str], place: AdapterPlace) -> SitConfig {
    let fixture = Fixture::read(name);
    let config: SitConfig = fixture.config();
    let base = ParamStore::frozen(device());
    let build = |store: &ParamStore, specs: &[AdapterSpec]| {
        Sit::new(store, specs, config.clone()).expect("targets match")
    };
    let _net = build(&base, &[]);
    let computed = base.tensor("pos_embed").copy();
    fixture.fill(&base, "weights.");
    let error = relative_error(&computed, &base.tensor("pos_embed"));
    assert!(error < 1e-6, "{error:.2e}: computed positions");

    let backbone = Backbone {
        fixture: &fixture,
        weights: &base,
        targets,
        place,
        build: &build,
        schedule: Schedule::RectifiedFlow,
        cond: Sit::condition(&fixture.get("labels").to_kind(Kind::Int64)),
        null: Sit::condition(&Tensor::from_slice(&[config.num_classes])),
    };
    backbone.agrees();
    config
}

#[test]
fn official_checkpoints_run_backwards_and_learn_a_variance() {
    let config = agrees("sit_official");
    assert_eq!(config.interpolant, Interpolant::DataAtOne);
    assert!(config.learn_sigma);
}

#[test]
fn repa_checkpoints_run_as_the_trait_does() {
    let config = agrees("sit_repa");
    assert_eq!(config.interpolant, Interpolant::DataAtZero);
    assert!(!config.learn_sigma);
}

#[test]
fn the_demos_adapter_sits_behind_queries_and_values() {
    agrees_at("sit_output_lora", &["blocks.*.attn"], AdapterPlace::Outputs);
    let (base, pairs) = (
        ParamStore::frozen(device()),
        ParamStore::trainable(device(), 0),
    );
    let xl = SitConfig {
        learn_sigma: false,
        interpolant: Interpolant::DataAtZero,
        ..SitConfig::xl_2()
    };
    let spec = AdapterSpec::new(32, 32.0, &["blocks.*.attn".into()], pairs.clone());
    Sit::new(&base, &[spec.at(AdapterPlace::Outputs)], xl).expect("targets match");
    let shapes = pairs.shapes();
    assert_eq!(shapes["blocks.27.attn.lora.lora_VA"], [1152, 32]);
    assert_eq!(shapes["blocks.0.attn.lora.lora_QB"], [32, 1152]);
    let count: i64 = shapes
        .values()
        .map(|shape| shape.iter().product::<i64>())
        .sum();
    assert_eq!(count, 4_128_768, "as many as the demo trains");
}

#[test]
fn each_network_trains_a_label_table_of_its_own() {
    let config: SitConfig = Fixture::read("sit_official").config();
    let store = ParamStore::trainable(device(), 1);
    let _net = Sit::new(&store, &[], config).expect("no adapters");
    let group = store.group();
    assert!(
        group
            .names
            .iter()
            .any(|n| n == "y_embedder.embedding_table.weight")
    );
    assert!(
        !group.names.iter().any(|n| n == "pos_embed"),
        "fixed positions are not trained"
    );
    assert!(
        store.shapes().contains_key("pos_embed"),
        "but they are saved"
    );
}
