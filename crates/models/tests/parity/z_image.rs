//! Z-Image against diffusers' `ZImageTransformer2DModel`, from a folder that diffusers saved.

use dmdr_diffusion::Schedule;
use dmdr_models::{ZImage, ZImageConfig, load_diffusers_config};
use dmdr_tensor::{Device, Kind, ParamStore};

use crate::{
    backbone,
    fixture::{self, Fixture},
};

/// Captions of 5 and 33 tokens, so of 32 and 64 with their padding, and a null caption of 3.
#[test]
fn captions_of_different_lengths() {
    let fixture = Fixture::read("z_image");
    let folder = fixture::path("z_image");
    let mut config = load_diffusers_config::<ZImage>(&folder).expect("config.json");
    config.time_hidden = 12; // diffusers' 1024 would make the fixture a megabyte
    let base = ParamStore::frozen(Device::Cpu);
    let (lora, specs) = backbone::adapter(&ZImage::LORA_TARGETS);
    let net = ZImage::new(&base, &specs, config.clone()).expect("sizes and targets fit");
    base.load_folder(&folder).expect("fits");

    let cond = |prefix: &str| {
        let tokens = fixture.get(&format!("{prefix}tokens")).shallow_clone();
        let lengths = fixture
            .get(&format!("{prefix}lengths"))
            .to_kind(Kind::Int64);
        ZImage::condition(tokens, &lengths)
    };
    let half = ParamStore::frozen(Device::Cpu).with_compute(Kind::BFloat16);
    let half_net = ZImage::new(&half, &[], config).expect("sizes fit");
    half.copy_from(&base);
    backbone::check_bf16(&fixture, &half_net, &cond(""));

    let conditions = (&cond(""), cond("null."));
    backbone::check(&fixture, &net, &lora, Schedule::RectifiedFlow, conditions);
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
