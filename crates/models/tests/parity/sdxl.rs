//! SDXL's UNet against diffusers' `UNet2DConditionModel`, from a folder that diffusers saved.

use std::fs;

use dmdr_diffusion::Schedule;
use dmdr_models::{SdxlConfig, SdxlUnet, load_diffusers_config};
use dmdr_tensor::{AdapterPlace, AdapterSpec, ParamStore};

use crate::{
    backbone::Backbone,
    fixture::{self, Fixture, device},
};

/// A transformer, a residual block with a shortcut, all changes of size.
const TARGETS: [&str; 3] = [
    "down_blocks.1.attentions.0.*",
    "up_blocks.2.resnets.0.*",
    "*samplers.0.conv",
];

/// On latents whose lowest resolution is not half of the one above.
#[test]
fn noise_and_gradients() {
    let fixture = Fixture::read("sdxl");
    let folder = fixture::path("sdxl");
    let config = load_diffusers_config::<SdxlUnet>(&folder).expect("config.json");
    let base = ParamStore::frozen(device());
    let build = |store: &ParamStore, specs: &[AdapterSpec]| {
        SdxlUnet::new(store, specs, config.clone()).expect("sizes and targets fit")
    };
    let _net = build(&base, &[]);
    base.load_folder(&folder).expect("fits");

    let cond = |prefix: &str| {
        let get = |name: &str| fixture.get(&format!("{prefix}{name}"));
        SdxlUnet::condition(get("tokens").shallow_clone(), get("pooled"), get("sizes"))
    };
    let backbone = Backbone {
        fixture: &fixture,
        weights: &base,
        targets: &TARGETS,
        place: AdapterPlace::Weights,
        build: &build,
        schedule: Schedule::ScaledLinear,
        cond: cond(""),
        null: cond("null."),
    };
    backbone.agrees();
}

#[test]
fn contradictory_sizes_are_refused() {
    let error = |change: fn(&mut SdxlConfig)| {
        let mut config = SdxlConfig::sdxl();
        change(&mut config);
        let store = ParamStore::shapes_only();
        SdxlUnet::new(&store, &[], config)
            .expect_err("refused")
            .to_string()
    };
    let message = error(|config| config.attention_head_dim[1] = 7);
    assert!(
        message.contains("640 channels do not divide into 7 heads"),
        "{message}"
    );
    let message = error(|config| config.norm_num_groups = 48);
    assert!(
        message.contains("320 channels do not divide into 48 groups"),
        "{message}"
    );
    let message = error(|config| config.transformer_layers_per_block = vec![2]);
    assert!(
        message.contains("transformer_layers_per_block is for 1 stages"),
        "{message}"
    );
}

/// A `config.json` of the same class that asks for another form of it.
#[test]
fn forms_that_are_not_built_are_refused() {
    let text = fs::read_to_string(fixture::path("sdxl").join("config.json")).expect("readable");
    let dir = tempfile::tempdir().expect("temp dir");
    let error = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(dir.path().join("config.json"), text.replace(from, to)).expect("writable");
        load_diffusers_config::<SdxlUnet>(dir.path())
            .expect_err("refused")
            .to_string()
    };
    let message = error(
        "\"use_linear_projection\": true",
        "\"use_linear_projection\": false",
    );
    assert!(
        message.contains("`use_linear_projection` is false, but only true is built"),
        "{message}"
    );
    let message = error("\"DownBlock2D\"", "\"AttnDownBlock2D\"");
    assert!(
        message.contains("unknown variant `AttnDownBlock2D`"),
        "{message}"
    );
    let message = error("\"freq_shift\": 0", "\"freq_shift\": 1");
    assert!(message.contains("`freq_shift` is 1"), "{message}");
}
