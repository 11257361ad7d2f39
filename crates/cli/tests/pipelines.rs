//! Pipelines as they lie on disks: what diffusers ignores is ignored with a warning, what changes the numbers is built or
//! refused by name.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{checked, dmdr, fail, pipeline, succeed};
use dmdr_models::{EmbeddingCache, SdxlText, TextEncoder};
use dmdr_tensor::{Device, Kind, Runtime, Tensor, read_tensors, write_tensors};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with `run.toml`, prompts, and a pipeline in `base/`.
fn place(make: fn(&Path)) -> TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    fs::create_dir(dir.path().join("base")).expect("writable");
    make(&dir.path().join("base"));
    fs::write(dir.path().join("prompts.txt"), "a red cat\na green bird\n").expect("writable");
    let run = pipeline::RUN.replace(
        "num_steps = 2\n[student]",
        "num_steps = 2\nguidance = 5.0\n[student]",
    );
    fs::write(dir.path().join("run.toml"), run).expect("writable");
    dir
}

/// Sets `changes` in a JSON file, which may not be there yet.
fn change(path: &Path, changes: &Value) {
    let text = fs::read_to_string(path).unwrap_or("{}".to_owned());
    let mut fields: Value = serde_json::from_str(&text).expect("JSON");
    let object = fields.as_object_mut().expect("an object");
    object.extend(changes.as_object().expect("an object").clone());
    fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
    fs::write(path, fields.to_string()).expect("writable");
}

/// What `dmdr doctor` says of `run.toml` in a folder.
fn doctor(here: &Path) -> String {
    let output = succeed(here, &["doctor", "run.toml"]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The trained adapter in a run's folder.
fn student(here: &Path) -> Vec<Tensor> {
    let path = here.join("runs/tiny/student.safetensors");
    let tensors = read_tensors(&path).expect("finished");
    tensors.into_values().collect()
}

/// Trains anew; the cache of encoded prompts stays.
fn trained(here: &Path) -> Vec<Tensor> {
    let _ = fs::remove_dir_all(here.join("runs"));
    succeed(here, &["train", "run.toml"]);
    student(here)
}

fn same(a: &[Tensor], b: &[Tensor]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equal(b))
}

const F32: Runtime = Runtime::f32(Device::Cpu);

/// With `force_zeros_for_empty_prompt: false` guidance goes away from the encoded empty prompt, whatever an older cache
/// holds; parity with diffusers' encoding is in the fixture of `text/sdxl`.
#[test]
fn sdxl_is_guided_away_from_what_its_index_says() {
    let dir = place(pipeline::sdxl);
    let here = dir.path();
    let base = here.join("base");
    let zeros = trained(here);
    let index = base.join("model_index.json");
    change(&index, &json!({ "force_zeros_for_empty_prompt": true }));
    assert!(same(&zeros, &trained(here)), "true is the default");
    change(&index, &json!({ "force_zeros_for_empty_prompt": false }));
    let encoded = trained(here);
    assert!(!same(&zeros, &encoded), "the empty prompt is no zeros");
    change(&index, &json!({ "force_zeros_for_empty_prompt": true }));
    assert!(
        same(&zeros, &trained(here)),
        "both caches answer for themselves"
    );

    // What was guided away from, as it was kept.
    let rule = "StableDiffusionXl, away from the empty prompt";
    let cache = EmbeddingCache::open(&here.join("cache"), &base, rule, Kind::Float);
    let cache = cache.expect("readable");
    let text = SdxlText::load(&base, F32, false).expect("fits");
    let expected = text.unconditional().expect("encodes");
    let empty = text.encode(&[""]).expect("encodes");
    assert!(expected.tokens.equal(&empty.tokens) && expected.pooled.equal(&empty.pooled));
    assert!(cache.contains("a red cat"));
    assert!(expected.tokens.abs().max().double_value(&[]) > 0.1);
}

#[test]
fn what_diffusers_ignores_is_ignored_with_a_warning() {
    let dir = place(pipeline::sdxl);
    let here = dir.path();
    let plain = trained(here);
    let base = here.join("base");
    let ema = json!({ "decay": 0.9999, "inv_gamma": 1.0, "optimization_step": 37000, "_note": 1 });
    change(&base.join("unet/config.json"), &ema);
    change(&base.join("vae/config.json"), &json!({ "mine": null }));
    change(
        &base.join("model_index.json"),
        &json!({ "safety_checker": [null, null] }),
    );
    for part in ["unet", "vae", "text_encoder", "tokenizer", "."] {
        for stray in [".ipynb_checkpoints", "onnx", ".cache/huggingface"] {
            let stray = base.join(part).join(stray);
            fs::create_dir_all(&stray).expect("writable");
            fs::write(stray.join("config.json"), "{").expect("writable");
        }
        fs::write(base.join(part).join(".DS_Store"), "x").expect("writable");
        fs::write(base.join(part).join("._config.json"), "x").expect("writable");
        let lock = base.join(part).join(".#config.json"); // as an editor leaves it
        std::os::unix::fs::symlink("nobody@nowhere", lock).expect("writable");
    }
    fs::write(base.join("tokenizer.json"), "{").expect("writable");
    let found = doctor(here);
    for named in [
        "base/unet/config.json`: UNet2DConditionModel does not know `decay`, `inv_gamma`, `optimization_step`",
        "base/vae/config.json`: AutoencoderKL does not know `mine`",
    ] {
        assert!(found.contains(named), "{found}");
    }
    assert!(
        !found.contains("_note") && !found.contains("safety_checker"),
        "{found}"
    );
    let folders = |here: &Path| fs::read_dir(here.join("cache")).expect("there").count();
    let before = folders(here);
    assert!(same(&plain, &trained(here)));
    assert_eq!(folders(here), before, "the cache answers as before");
    for file in [
        "model_index.json",
        "unet/config.json",
        "tokenizer/tokenizer_config.json",
    ] {
        let path = base.join(file); // as some editors save
        let text = fs::read_to_string(&path).expect("there");
        fs::write(&path, format!("\u{FEFF}{text}")).expect("writable");
    }
    assert!(same(&plain, &trained(here)));
}

/// As a download of half precision alone leaves it, behind links as in the hub's cache.
#[test]
fn half_precision_alone_is_read_and_said() {
    let dir = place(pipeline::sdxl);
    let here = dir.path();
    for (part, stem) in [
        ("unet", "diffusion_pytorch_model"),
        ("text_encoder_2", "model"),
    ] {
        let folder = here.join("base").join(part);
        let plain = folder.join(format!("{stem}.safetensors"));
        let tensors = read_tensors(&plain).expect("weights");
        let blob = here.join(format!("{part}-blob"));
        write_tensors(&blob, &tensors, Kind::Half, &[].into()).expect("writable");
        fs::remove_file(&plain).expect("there");
        let variant = folder.join(format!("{stem}.fp16.safetensors"));
        std::os::unix::fs::symlink(&blob, variant).expect("writable");
    }
    let found = doctor(here);
    let named = "half precision only, which is what the teacher computes with: \
                 `unet/diffusion_pytorch_model.fp16.safetensors`, `text_encoder_2/model.fp16.safetensors`";
    assert!(found.contains(named), "{found}");
    trained(here);
}

#[test]
fn sd3_without_t5_as_its_index_says() {
    let dir = place(pipeline::sd3);
    let here = dir.path();
    let base = here.join("base");
    let with = trained(here);
    let null = json!({ "text_encoder_3": [null, null], "tokenizer_3": [null, null] });
    change(&base.join("model_index.json"), &null);
    let without = trained(here);
    assert!(
        !same(&with, &without),
        "the folder is there, but it is not read"
    );
    fs::remove_dir_all(base.join("text_encoder_3")).expect("there");
    assert!(same(&without, &trained(here)));
}

/// `shift` of the scheduler at this size: a latent of 6 x 6, so 3 x 3 patches.
#[test]
fn a_shift_that_grows_with_the_image_is_compared() {
    let dir = place(pipeline::sd3);
    let here = dir.path();
    let path = here.join("base/scheduler/scheduler_config.json");
    let scheduler = json!({
        "_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0,
        "use_dynamic_shifting": true, "base_shift": 0.5, "max_shift": 1.15,
    });
    change(&path, &scheduler);
    let found = doctor(here);
    let shift = (0.5 + (9.0 - 256.0) * (1.15 - 0.5) / (4096.0 - 256.0f64)).exp();
    let named = format!(
        "the scheduler of `base` has {}",
        shift.to_string().split_at(8).0
    );
    assert!(found.contains(&named), "{named}: {found}");
}

/// A JSON file below `base/`, and what is set in it.
type Change = (&'static str, Value);

#[test]
fn other_sdxls_are_refused_by_name() {
    let unet = "unet/config.json";
    let sdxl: [(Change, &str); 14] = [
        (
            (unet, json!({ "upcast_attention": true })),
            "`upcast_attention` is true, but only false",
        ),
        (
            (unet, json!({ "class_embed_type": "timestep" })),
            "`class_embed_type` is \"timestep\"",
        ),
        (
            (unet, json!({ "attention_head_dim": [0, 1, 2] })),
            "attention_head_dim is 0, expected 1 to",
        ),
        (
            (unet, json!({ "attention_head_dim": [3, 1, 2] })),
            "4 channels do not divide into 3 heads",
        ),
        (
            (unet, json!({ "norm_num_groups": 0 })),
            "norm_num_groups is 0, expected 1 to",
        ),
        (
            (unet, json!({ "cross_attention_dim": -20 })),
            "cross_attention_dim is -20, expected 1",
        ),
        (
            (unet, json!({ "in_channels": "4" })),
            "`in_channels`: invalid type",
        ),
        (
            (unet, json!({ "in_channels": 9 })),
            "in_channels 9 differs from out_channels 4",
        ),
        (
            (
                unet,
                json!({ "quantization_config": { "quant_method": "bitsandbytes" } }),
            ),
            "`quantization_config`, so its weights are quantised",
        ),
        (
            ("vae/config.json", json!({ "norm_num_groups": 0 })),
            "norm_num_groups is 0",
        ),
        (
            ("vae/config.json", json!({ "shift_factor": 0.5 })),
            "`shift_factor` is 0.5, but only null",
        ),
        (
            ("vae/config.json", json!({ "latents_mean": [0.0] })),
            "`latents_mean` is [0.0]",
        ),
        (
            (
                "text_encoder/config.json",
                json!({ "num_attention_heads": 0 }),
            ),
            "num_attention_heads is 0",
        ),
        (
            (
                "model_index.json",
                json!({ "vae": ["diffusers", "AutoencoderTiny"] }),
            ),
            "`vae` is AutoencoderTiny, but only AutoencoderKL is built",
        ),
    ];
    refused(pipeline::sdxl, &sdxl);
}

const TRANSFORMER: &str = "transformer/config.json";

#[test]
fn other_sd3s_are_refused_by_name() {
    let huge = 1_000_000_000_000_i64;
    let sd3: [(Change, &str); 6] = [
        (
            (TRANSFORMER, json!({ "patch_size": 0 })),
            "patch_size is 0, expected 1 to",
        ),
        (
            (TRANSFORMER, json!({ "num_layers": huge })),
            "num_layers is 1000000000000, expected 1 to",
        ),
        (
            (TRANSFORMER, json!({ "qk_norm": "layer_norm" })),
            "`qk_norm`: unknown variant",
        ),
        (
            (TRANSFORMER, json!({ "dual_attention_layers": [-1] })),
            "names layer -1",
        ),
        (
            (
                "scheduler/scheduler_config.json",
                json!({ "_class_name": "DDIMScheduler" }),
            ),
            "`_class_name` is DDIMScheduler, which does not sample a rectified flow",
        ),
        (
            (
                "model_index.json",
                json!({ "transformer": ["diffusers", "FluxTransformer2DModel"] }),
            ),
            "`transformer` is FluxTransformer2DModel",
        ),
    ];
    refused(pipeline::sd3, &sd3);
}

#[test]
fn other_z_images_are_refused_by_name() {
    let z_image: [(Change, &str); 2] = [
        (
            (
                "text_encoder/config.json",
                json!({ "num_key_value_heads": 0 }),
            ),
            "num_key_value_heads is 0",
        ),
        (
            (TRANSFORMER, json!({ "axes_dims": [3, 3, 2] })),
            "axes_dims has 3, but channels turn in pairs",
        ),
    ];
    refused(pipeline::z_image, &z_image);
}

/// Each of `cases` is an error with file, key, expected and found: never a panic, and nothing is left behind.
fn refused(make: fn(&Path), cases: &[(Change, &str)]) {
    let dir = place(make);
    let here = dir.path();
    for ((file, changes), named) in cases {
        let path = here.join("base").join(file);
        let before = fs::read(&path).ok();
        change(&path, changes);
        let error = fail(here, &["train", "run.toml"]);
        let short = file.rsplit('/').next().expect("a name");
        assert!(
            error.starts_with("error: ") || error.contains("\nerror: "),
            "{changes}: {error}"
        );
        assert!(error.contains(named), "{changes}: {error}");
        assert!(error.contains(short), "{changes}: {error}");
        assert!(!here.join("runs").exists(), "nothing is left behind");
        match before {
            Some(before) => fs::write(&path, before).expect("writable"),
            None => fs::remove_file(&path).expect("there"),
        }
    }
    checked(&mut dmdr(here, &["doctor", "run.toml"]));
}

/// What downloads that went wrong leave under the name of the weights.
#[test]
fn files_that_are_something_else_are_named() {
    let dir = place(pipeline::sdxl);
    let here = dir.path();
    let weights: PathBuf = here.join("base/unet/diffusion_pytorch_model.safetensors");
    let good = fs::read(&weights).expect("there");
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n";
    for (content, named) in [
        (
            lfs.as_bytes(),
            "it is a git-lfs pointer, not the file itself: run `git lfs pull`",
        ),
        (b"<!DOCTYPE html><html>", "it is a web page"),
        (
            b"{\"error\": \"Repository not found\"}",
            "JSON text that begins `{\"error\":",
        ),
        (b"", "the file is empty"),
        (&good[..good.len() - 4], "cut short within tensor"),
        (b"PK\x03\x04archive/data.pkl", "a pickle by another name"),
    ] {
        fs::write(&weights, content).expect("writable");
        let error = fail(here, &["doctor", "run.toml"]);
        assert!(
            error.contains("unet/diffusion_pytorch_model.safetensors"),
            "{error}"
        );
        assert!(error.contains(named), "{error}");
    }
    fs::remove_file(&weights).expect("there");
    let other = weights.with_file_name("diffusion_pytorch_model.non_ema.safetensors");
    fs::write(&other, &good).expect("writable");
    let error = fail(here, &["doctor", "run.toml"]);
    assert!(
        error.contains("`diffusion_pytorch_model.non_ema.safetensors` is there"),
        "{error}"
    );
    fs::rename(&other, &weights).expect("writable");
    let config = here.join("base/unet/config.json");
    fs::write(&config, lfs).expect("writable");
    let error = fail(here, &["doctor", "run.toml"]);
    assert!(
        error.contains("unet/config.json`: it is a git-lfs pointer"),
        "{error}"
    );
}
