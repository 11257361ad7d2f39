//! Tiny published pipelines: the text encoders and autoencoders of the parity fixtures, and a random network that fits them.
#![allow(dead_code, reason = "every test program uses its own part")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use dmdr_config::LpipsTrunk;
use dmdr_models::{
    BlipConfig, BlipRating, Denoiser, DinoClassifier, DinoConfig, Inception, Lpips, ModelError,
    RatingHead, Sd3, Sd3Config, SdxlUnet, Sit, SitConfig, Stored, ZImage, load_diffusers_config,
};
use dmdr_tensor::{
    AdapterSpec, Device, Kind, ParamStore, Scope, Tensor, no_grad_guard, read_metadata,
    read_tensors, reseed, write_tensors,
};
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/tests/fixtures")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("writable");
    for entry in fs::read_dir(from).expect("readable") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).expect("writable");
        }
    }
}

/// `config.json` of a fixture with other values for `changes`.
fn config(fixture: &str, folder: &Path, changes: &Value) {
    let text = fs::read_to_string(fixtures().join(fixture).join("config.json")).expect("there");
    let mut config: Value = serde_json::from_str(&text).expect("JSON");
    let fields = config.as_object_mut().expect("an object");
    fields.extend(changes.as_object().expect("an object").clone());
    fs::create_dir_all(folder).expect("writable");
    fs::write(folder.join("config.json"), config.to_string()).expect("writable");
}

/// Random weights beside a `config.json`; nothing starts at zero, or it would hide what lies behind it.
fn weights<N: Denoiser>(
    folder: &Path,
    build: impl FnOnce(&ParamStore, &[AdapterSpec]) -> Result<N, ModelError>,
) {
    let store = ParamStore::trainable(Device::Cpu, 0);
    let _net = build(&store, &[]).expect("sizes fit");
    save_random(&store, &folder.join("diffusion_pytorch_model.safetensors"));
}

fn save_random(store: &ParamStore, path: &Path) {
    reseed(&[7]);
    {
        let _guard = no_grad_guard();
        for tensor in store.group().tensors {
            tensor.shallow_clone().copy_(&(tensor.randn_like() * 0.1));
        }
    }
    store
        .save(path, Kind::Float, &BTreeMap::new())
        .expect("writable");
}

/// CLIP's towers as transformers saves them, `clip/`, and their tokenizer, `clip-tokenizer/`.
pub(crate) fn clip(folder: &Path) {
    copy(&fixtures().join("clip_transformers"), &folder.join("clip"));
    let tokenizer = fixtures().join("text/sd3/tokenizer");
    copy(&tokenizer, &folder.join("clip-tokenizer"));
}

/// `DINOv2` with a classifier of five classes, `dino.safetensors` and `head.safetensors`.
pub(crate) fn dino(folder: &Path) {
    let [net, head] = [1, 2].map(|seed| ParamStore::trainable(Device::Cpu, seed));
    let sizes = DinoConfig {
        image_size: 28,
        embed_dim: 64,
        num_heads: 1,
        depth: 4,
        num_classes: 5,
        ..DinoConfig::l_14()
    };
    let _net = DinoClassifier::new(&net, &head, sizes).expect("sizes fit");
    save_random(&net, &folder.join("dino.safetensors"));
    save_random(&head, &folder.join("head.safetensors"));
}

/// ImageReward, `image-reward.safetensors`, with a head for CLIP's tower, `aesthetic.safetensors`, and BERT's tokenizer,
/// `bert-tokenizer/`.
pub(crate) fn ratings(folder: &Path) {
    let tokenizer = fixtures().join("../../../rewards/tests/fixtures/bert_tokenizer");
    copy(&tokenizer, &folder.join("bert-tokenizer"));
    let store = ParamStore::trainable(Device::Cpu, 3);
    let sizes = BlipConfig {
        image_size: 32,
        image_dim: 64,
        image_depth: 1,
        image_heads: 1,
        vocabulary: 120,
        max_tokens: 40,
        text_dim: 64,
        text_hidden: 64,
        text_depth: 1,
        text_heads: 1,
        ..BlipConfig::image_reward()
    };
    let _net = BlipRating::new(&store, sizes).expect("sizes fit");
    save_random(&store, &folder.join("image-reward.safetensors"));
    let store = ParamStore::trainable(Device::Cpu, 4);
    let _net = RatingHead::new(&Scope::root(&store, &[]), 10);
    save_random(&store, &folder.join("aesthetic.safetensors"));
}

/// LPIPS on AlexNet, `alexnet.safetensors` and `alex.safetensors`.
pub(crate) fn lpips(folder: &Path) {
    let stores = [1, 2].map(|seed| ParamStore::trainable(Device::Cpu, seed));
    let _net = Lpips::new(&stores[0], &stores[1], LpipsTrunk::Alex);
    save_random(&stores[0], &folder.join("alexnet.safetensors"));
    let weights = stores[1].tensors().into_iter();
    let positive = weights.map(|(name, tensor)| (name, tensor.ones_like() * 0.1));
    let path = folder.join("alex.safetensors");
    write_tensors(&path, &positive.collect(), Kind::Float, &BTreeMap::new()).expect("writable");
}

/// FID's Inception, `inception.safetensors`, whose products keep the size of what passes through.
pub(crate) fn inception(folder: &Path) {
    let store = ParamStore::shapes_only();
    let _net = Inception::new(&store);
    reseed(&[8]);
    let weight = |(name, shape): (String, Vec<i64>)| {
        let options = (Kind::Float, Device::Cpu);
        let tensor = if shape.len() > 1 {
            let fan_in = shape[1..].iter().product::<i64>() as f64;
            Tensor::randn(&shape, options) * (2.0 / fan_in).sqrt()
        } else if name.ends_with("weight") || name.ends_with("running_var") {
            Tensor::ones(&shape, options)
        } else {
            Tensor::zeros(&shape, options)
        };
        (name, tensor)
    };
    let weights = store.shapes().into_iter().map(weight).collect();
    let path = folder.join("inception.safetensors");
    write_tensors(&path, &weights, Kind::BFloat16, &BTreeMap::new()).expect("writable");
}

/// A pipeline of `class` in `folder`.
fn pipeline(folder: &Path, class: &str, text: &str, vae: &str) {
    copy(&fixtures().join("text").join(text), folder);
    copy(&fixtures().join(vae), &folder.join("vae"));
    let index = json!({ "_class_name": class, "_diffusers_version": "0.42.1" });
    fs::write(folder.join("model_index.json"), index.to_string()).expect("writable");
}

/// SiT as a converted checkpoint, `network.safetensors`, with an autoencoder of its own in `vae/`; five classes.
pub(crate) fn sit(folder: &Path) {
    copy(&fixtures().join("vae_sdxl"), &folder.join("vae"));
    let path = fixtures().join("sit_repa.safetensors");
    let config = &read_metadata(&path).expect("metadata")["config"];
    let config: SitConfig = serde_json::from_str(config).expect("sizes");
    let store = ParamStore::frozen(Device::Cpu);
    let _net = Sit::new(&store, &[], config.clone()).expect("no adapters");
    let tensors = read_tensors(&path).expect("tensors").into_iter();
    let weights = tensors
        .filter_map(|(name, tensor)| Some((name.strip_prefix("weights.")?.to_owned(), tensor)));
    store.load_tensors(&weights.collect(), &path).expect("fits");
    let path = folder.join("network.safetensors");
    Sit::save(&store, &config, &path, Kind::Float, &BTreeMap::new()).expect("writable");
}

/// The whole `model_index.json` of [`sd3`] with a scheduler, as diffusers itself wants it.
pub(crate) fn sd3_index() -> Value {
    json!({
        "_class_name": "StableDiffusion3Pipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [null, null],
        "image_encoder": [null, null],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_3": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "tokenizer_3": ["transformers", "T5Tokenizer"],
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    })
}

/// Stable Diffusion 3 on latents `[6, h, w]`.
pub(crate) fn sd3(folder: &Path) {
    sd3_of(folder, "sd3_plain");
}

/// Stable Diffusion 3.5, which normalises queries and keys.
pub(crate) fn sd35(folder: &Path) {
    sd3_of(folder, "sd3_qk_norm");
}

/// Stable Diffusion 3.5 Medium, which has a second attention in its first blocks.
pub(crate) fn sd35_medium(folder: &Path) {
    sd3_of(folder, "sd3_dual");
}

fn sd3_of(folder: &Path, fixture: &str) {
    pipeline(folder, "StableDiffusion3Pipeline", "sd3", "vae_sd3");
    let network = folder.join("transformer");
    let changes = json!({ "in_channels": 6, "out_channels": 6, "joint_attention_dim": 24, "pooled_projection_dim": 16 });
    config(fixture, &network, &changes);
    let config: Sd3Config = load_diffusers_config::<Sd3>(&network).expect("fits");
    weights(&network, |store, adapters| {
        Sd3::new(store, adapters, config)
    });
}

/// SDXL on latents `[4, h, w]`.
pub(crate) fn sdxl(folder: &Path) {
    pipeline(folder, "StableDiffusionXLPipeline", "sdxl", "vae_sdxl");
    let network = folder.join("unet");
    // Six sizes of four features each behind ten of pooled text.
    let changes = json!({ "cross_attention_dim": 20, "projection_class_embeddings_input_dim": 34 });
    config("sdxl", &network, &changes);
    let config = load_diffusers_config::<SdxlUnet>(&network).expect("fits");
    weights(&network, |store, adapters| {
        SdxlUnet::new(store, adapters, config)
    });
}

/// Z-Image on latents `[6, h, w]`.
pub(crate) fn z_image(folder: &Path) {
    pipeline(folder, "ZImagePipeline", "z_image", "vae_sd3");
    let network = folder.join("transformer");
    config(
        "z_image",
        &network,
        &json!({ "in_channels": 6, "cap_feat_dim": 16 }),
    );
    let config = load_diffusers_config::<ZImage>(&network).expect("fits");
    weights(&network, |store, adapters| {
        ZImage::new(store, adapters, config)
    });
}

/// The shortest distillation of a tiny pipeline in `base`, `run.toml`.
pub(crate) const RUN: &str = r#"
name = "tiny"
precision = "f32"
[world.prompts]
train = "prompts.txt"
validation = "prompts.txt"
size = 24
embeddings = "cache"
[teacher]
weights = "base"
num_steps = 2
[student]
num_steps = 2
tuning = { lora = { rank = 2, alpha = 2.0, targets = ["*to_q"] } }
[fake_score]
rank = 2
alpha = 2.0
targets = ["*to_q"]
[method.dmdr]
num_updates = 1
batch_size = 2
[optim.student]
lr = 1e-2
[optim.fake_score]
lr = 1e-2
[events]
sample_every = 0
evaluate_every = 0
"#;

/// A folder in which `dmdr train run.toml` makes `runs/tiny`, with [`clip`] beside the pipeline in `base/`.
pub(crate) fn tiny_run() -> TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    let base = dir.path().join("base");
    fs::create_dir(&base).expect("writable");
    sd3(&base);
    clip(&base);
    fs::write(dir.path().join("prompts.txt"), "a red cat\na green bird\n").expect("writable");
    fs::write(dir.path().join("run.toml"), RUN).expect("writable");
    dir
}
