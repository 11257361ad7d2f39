//! Every layer of an exported adapter is one that ComfyUI patches. `comfyui/` lists the names that its own code makes of the
//! full-size models (`model_lora_keys_unet` with `unet_to_diffusers` and `mmdit_to_diffusers`, from a copy packaged in January 2026); names it does not know it
//! passes over with a warning.

use std::{collections::BTreeSet, fs, path::Path};

use dmdr_models::{
    Denoiser, ModelError, Pipeline, Sd3, Sd3Config, SdxlConfig, SdxlUnet, ZImage, ZImageConfig,
};
use dmdr_tensor::{AdapterSpec, ParamStore};
use dmdr_train::comfyui_names;

/// Names of the layers, without what follows, of an adapter on a full-size network's default targets.
fn layers<N: Denoiser>(
    pipeline: Pipeline,
    targets: &[&str],
    build: impl FnOnce(&ParamStore, &[AdapterSpec]) -> Result<N, ModelError>,
) -> BTreeSet<String> {
    let adapter = ParamStore::shapes_only();
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let specs = [AdapterSpec::new(1, 1.0, &targets, adapter.clone())];
    let _net = build(&ParamStore::shapes_only(), &specs).expect("targets match");
    let names = comfyui_names(&adapter, pipeline, 1.0).into_keys();
    let found: BTreeSet<String> = names
        .map(|name| {
            let ends = [".lora_down.weight", ".lora_up.weight", ".alpha"];
            let layer = ends.iter().find_map(|end| name.strip_suffix(end));
            layer.expect("a pair or its alpha").to_owned()
        })
        .collect();
    assert_eq!(found.len(), adapter.shapes().len() / 2);
    found
}

#[track_caller]
fn all_known(list: &str, layers: &BTreeSet<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/comfyui/{list}.txt"));
    let text = fs::read_to_string(path).expect("committed");
    let known: BTreeSet<String> = text.lines().map(str::to_owned).collect();
    let unknown: Vec<&String> = layers.difference(&known).collect();
    assert!(
        unknown.is_empty(),
        "{} of {}: {:?}",
        unknown.len(),
        layers.len(),
        unknown.first()
    );
}

#[test]
fn sdxl() {
    let layers = layers(
        Pipeline::StableDiffusionXl,
        &SdxlUnet::LORA_TARGETS,
        |store, specs| SdxlUnet::new(store, specs, SdxlConfig::sdxl()),
    );
    all_known("sdxl", &layers);
}

#[test]
fn sd3_medium_and_sd35_large() {
    for (list, config) in [
        ("sd3_medium", Sd3Config::sd3_medium()),
        ("sd35_large", Sd3Config::sd35_large()),
    ] {
        let layers = layers(
            Pipeline::StableDiffusion3,
            &Sd3::LORA_TARGETS,
            |store, specs| Sd3::new(store, specs, config),
        );
        all_known(list, &layers);
    }
}

/// ComfyUI's branch for Z-Image knows `diffusion_model.` before diffusers' name, and no name with underscores for dots.
#[test]
fn z_image() {
    let layers = layers(Pipeline::ZImage, &ZImage::LORA_TARGETS, |store, specs| {
        ZImage::new(store, specs, ZImageConfig::z_image())
    });
    let parts = ["to_k", "to_out.0", "to_q", "to_v"];
    let expected = (0..30).flat_map(|layer| {
        parts.map(|part| format!("diffusion_model.layers.{layer}.attention.{part}"))
    });
    assert_eq!(layers, expected.collect());
}
