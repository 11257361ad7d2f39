//! Every layer of an exported adapter has the name under which ComfyUI patches it; names it does not know it passes over with a
//! warning. `comfyui/` lists what its own code (`model_lora_keys_unet` with `unet_to_diffusers` and `mmdit_to_diffusers`, from a
//! copy packaged in January 2026) makes of the full-size models; `tools/peer/comfyui.py` writes the lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use dmdr_models::{
    Denoiser, ModelError, Sd3, Sd3Config, SdxlConfig, SdxlUnet, ZImage, ZImageConfig, family_of,
};
use dmdr_tensor::{AdapterSpec, ParamStore};
use dmdr_train::comfyui_names;

/// An adapter on a full-size network's default targets: its layers as we call them, and the names it is exported under
/// without what follows them.
fn names<N: Denoiser>(
    class: &str,
    targets: &[&str],
    build: impl FnOnce(&ParamStore, &[AdapterSpec]) -> Result<N, ModelError>,
) -> [BTreeSet<String>; 2] {
    let adapter = ParamStore::shapes_only();
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    let specs = [AdapterSpec::new(1, 1.0, &targets, adapter.clone())];
    let _net = build(&ParamStore::shapes_only(), &specs).expect("targets match");
    let stem = |name: String, ends: &[&str]| {
        let layer = ends.iter().find_map(|end| name.strip_suffix(end));
        layer.expect("a pair or its alpha").to_owned()
    };
    let layers = adapter.shapes().into_keys();
    let exported = comfyui_names(&adapter, family_of(class).expect("built"), 1.0).into_keys();
    [
        layers
            .map(|name| stem(name, &[".lora_A.weight", ".lora_B.weight"]))
            .collect(),
        exported
            .map(|name| stem(name, &[".lora_down.weight", ".lora_up.weight", ".alpha"]))
            .collect(),
    ]
}

#[track_caller]
fn all_known(list: &str, [layers, exported]: [BTreeSet<String>; 2]) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/comfyui/{list}.txt"));
    let text = fs::read_to_string(path).expect("committed");
    let lines = text
        .lines()
        .map(|line| line.split_once(' ').expect("two names"));
    let known: BTreeMap<&str, &str> = lines.collect();
    let expected = layers.iter().map(|layer| {
        let name = known.get(layer.as_str());
        (*name.unwrap_or_else(|| panic!("ComfyUI does not know {layer}"))).to_owned()
    });
    assert_eq!(exported, expected.collect());
}

#[test]
fn sdxl() {
    let names = names(
        "StableDiffusionXLPipeline",
        &SdxlUnet::LORA_TARGETS,
        |store, specs| SdxlUnet::new(store, specs, SdxlConfig::sdxl()),
    );
    all_known("sdxl", names);
}

#[test]
fn sd3_and_its_descendants() {
    for (list, config) in [
        ("sd3_medium", Sd3Config::sd3_medium()),
        ("sd35_medium", Sd3Config::sd35_medium()),
        ("sd35_large", Sd3Config::sd35_large()),
    ] {
        let names = names(
            "StableDiffusion3Pipeline",
            &Sd3::LORA_TARGETS,
            |store, specs| Sd3::new(store, specs, config),
        );
        all_known(list, names);
    }
}

/// ComfyUI's branch for Z-Image knows `diffusion_model.` before diffusers' name, and no name with underscores for dots.
#[test]
fn z_image() {
    let [_, names] = names("ZImagePipeline", &ZImage::LORA_TARGETS, |store, specs| {
        ZImage::new(store, specs, ZImageConfig::z_image())
    });
    let parts = ["to_k", "to_out.0", "to_q", "to_v"];
    let expected = (0..30).flat_map(|layer| {
        parts.map(|part| format!("diffusion_model.layers.{layer}.attention.{part}"))
    });
    assert_eq!(names, expected.collect());
}
