//! SD3 against diffusers' `SD3Transformer2DModel`, from folders that diffusers saved.

use dmdr_diffusion::Schedule;
use dmdr_models::{Conditioning, Sd3, Sd3Config, load_diffusers_config};
use dmdr_tensor::{AdapterPlace, AdapterSpec, ParamStore};

use crate::{
    backbone::Backbone,
    fixture::{self, Fixture, device, relative_error},
};

fn agrees(name: &str) -> Sd3Config {
    let fixture = Fixture::read(name);
    let folder = fixture::path(name);
    let config = load_diffusers_config::<Sd3>(&folder).expect("config.json");
    let base = ParamStore::frozen(device());
    let build = |store: &ParamStore, specs: &[AdapterSpec]| {
        Sd3::new(store, specs, config.clone()).expect("sizes and targets fit")
    };
    let _net = build(&base, &[]);
    let fresh = base.duplicate();
    base.load_folder(&folder).expect("fits");

    let positions = |store: &ParamStore| store.tensor("pos_embed.pos_embed");
    let error = relative_error(&positions(&fresh), &positions(&base));
    assert!(error < 1e-6, "{error:.2e}: computed positions");

    let cond = |prefix: &str| Conditioning {
        tokens: fixture.get(&format!("{prefix}tokens")).shallow_clone(),
        pooled: fixture.get(&format!("{prefix}pooled")).shallow_clone(),
    };
    let backbone = Backbone {
        fixture: &fixture,
        weights: &base,
        targets: &Sd3::LORA_TARGETS,
        place: AdapterPlace::Weights,
        build: &build,
        schedule: Schedule::RectifiedFlow,
        cond: cond(""),
        null: cond("null."),
    };
    backbone.agrees();
    config
}

#[test]
fn sd3() {
    let config = agrees("sd3_plain");
    assert!(config.qk_norm.is_none() && config.dual_attention_layers.is_empty());
}

#[test]
fn sd35_large_has_normalised_queries_and_keys() {
    let config = agrees("sd3_qk_norm");
    assert!(config.qk_norm.is_some() && config.dual_attention_layers.is_empty());
}

#[test]
fn sd35_medium_has_a_second_attention() {
    let config = agrees("sd3_dual"); // this folder is sharded
    assert_eq!(config.dual_attention_layers, [0, 1]);
}

#[test]
fn contradictory_sizes_are_refused() {
    let error = |change: fn(&mut Sd3Config)| {
        let mut config = Sd3Config::sd35_medium();
        change(&mut config);
        let store = ParamStore::shapes_only();
        Sd3::new(&store, &[], config)
            .expect_err("refused")
            .to_string()
    };
    let message = error(|config| config.num_attention_heads = 23);
    assert!(message.contains("caption_projection_dim 1536"), "{message}");
    let message = error(|config| config.num_layers = 12);
    assert!(message.contains("names layer 12 of 12"), "{message}");
}
