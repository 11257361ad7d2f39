//! Z-Image against diffusers' `ZImageTransformer2DModel`, from a folder that diffusers saved.

use dmdr_diffusion::Schedule;
use dmdr_models::{ZImage, ZImageConfig, ZImageText, load_diffusers_config};
use dmdr_tensor::{AdapterPlace, AdapterSpec, Kind, ParamStore};

use crate::{
    backbone::Backbone,
    fixture::{self, Fixture, device},
};

/// Captions of 5 and 33 tokens, so of 32 and 64 with their padding, and a null caption of 3.
#[test]
fn captions_of_different_lengths() {
    let fixture = Fixture::read("z_image");
    let folder = fixture::path("z_image");
    let mut config = load_diffusers_config::<ZImage>(&folder).expect("config.json");
    config.time_hidden = 12; // diffusers' 1024 would make the fixture a megabyte
    let base = ParamStore::frozen(device());
    let build = |store: &ParamStore, specs: &[AdapterSpec]| {
        ZImage::new(store, specs, config.clone()).expect("sizes and targets fit")
    };
    let _net = build(&base, &[]);
    base.load_folder(&folder).expect("fits");

    let cond = |prefix: &str| {
        let tokens = fixture.get(&format!("{prefix}tokens")).shallow_clone();
        let lengths = fixture
            .get(&format!("{prefix}lengths"))
            .to_kind(Kind::Int64);
        ZImageText::condition(tokens, &lengths)
    };
    let backbone = Backbone {
        fixture: &fixture,
        weights: &base,
        targets: &ZImage::LORA_TARGETS,
        place: AdapterPlace::Weights,
        build: &build,
        schedule: Schedule::RectifiedFlow,
        cond: cond(""),
        null: cond("null."),
    };
    backbone.agrees();
}

#[test]
fn forms_that_are_not_built_are_refused() {
    let error = |change: fn(&mut ZImageConfig)| {
        let mut config = ZImageConfig::z_image();
        change(&mut config);
        let store = ParamStore::shapes_only();
        ZImage::new(&store, &[], config)
            .expect_err("refused")
            .to_string()
    };
    assert!(error(|config| config.siglip_feat_dim = Some(8)).contains("siglip_feat_dim"));
    assert!(error(|config| config.n_heads = 15).contains("axes_dims [32, 48, 48]"));
}
