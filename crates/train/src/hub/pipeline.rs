//! Which files of a repository make its pipeline: those that diffusers reads, neither copies in
//! other formats nor pictures.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::Path,
};

use dmdr_models::component_names;
use serde::Deserialize;
use serde_json::Value;

/// What makes a folder a pipeline.
pub(super) const INDEX: &str = "model_index.json";

/// What a folder of a pipeline holds.
#[derive(Clone, Copy)]
enum Part {
    /// A network, its weights in files of this name.
    Network(&'static str),
    Scheduler,
    Tokenizer,
}

impl Part {
    fn of(folder: &str) -> Option<Self> {
        if !component_names().contains(folder) {
            return None;
        }
        Some(match folder {
            "scheduler" => Self::Scheduler,
            tokenizer if tokenizer.starts_with("tokenizer") => Self::Tokenizer,
            encoder if encoder.starts_with("text_encoder") => Self::Network("model"),
            _ => Self::Network("diffusion_pytorch_model"),
        })
    }
}

/// The files of a pipeline among `files`, the index last: where it is, the others are.
pub(super) fn wanted(files: &[String]) -> Vec<&str> {
    let mut folders: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (folder, name) in files.iter().filter_map(|file| file.split_once('/')) {
        folders.entry(folder).or_default().push(name);
    }
    let is_wanted = |file: &&String| {
        let Some((folder, name)) = file.split_once('/') else {
            return false;
        };
        !name.contains('/') && is_read(folder, name, &folders[folder])
    };
    let parts = files.iter().filter(is_wanted);
    let index = files.iter().filter(|file| *file == INDEX);
    parts.chain(index).map(String::as_str).collect()
}

/// Whether `name` is read of a folder with the files `names`.
fn is_read(folder: &str, name: &str, names: &[&str]) -> bool {
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    match Part::of(folder) {
        Some(Part::Network(stem)) => {
            let variant = variant_of(name, stem);
            let is_config = extension == Some("json") && !name.contains(".index.");
            is_config || variant.is_some() && variant == chosen_variant(names, stem)
        }
        Some(Part::Scheduler) => extension == Some("json"),
        // Vocabularies of every kind: `merges.txt`, `vocab.txt`, `spiece.model`.
        Some(Part::Tokenizer) => matches!(extension, Some("json" | "txt" | "model" | "jinja")),
        None => false,
    }
}

/// The variant of weights called `stem`, or of their index; empty for the usual ones, none for
/// other files.
///
/// diffusers writes `STEM.fp16.safetensors`, `STEM.fp16-00001-of-00002.safetensors` and
/// `STEM.safetensors.index.fp16.json` (`_add_variant` of its `model_loading_utils.py`), and has the
/// shard's number before the variant in other releases.
fn variant_of<'a>(name: &'a str, stem: &str) -> Option<&'a str> {
    let rest = name.strip_prefix(stem)?;
    let words: Vec<&str> = rest.split('.').map(without_shard).collect();
    let is_weights = rest.starts_with(['.', '-']) && words.contains(&"safetensors");
    let own = |word: &&str| ["", "safetensors", "index", "json"].contains(word);
    let mut others = words.iter().filter(|word| !own(word));
    let variant = others.next().copied().unwrap_or_default();
    (is_weights && others.next().is_none()).then_some(variant)
}

/// `fp16` of `fp16-00001-of-00002`.
fn without_shard(word: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let shard = || {
        let (rest, count) = word.rsplit_once("-of-")?;
        let (rest, index) = rest.rsplit_once('-')?;
        (is_number(count) && is_number(index)).then_some(rest)
    };
    shard().unwrap_or(word)
}

/// The variant that is read of a folder: the usual weights, or, where they are not there, the same
/// in another precision, as the loader takes them. Any other variant, such as `non_ema`, holds
/// other weights.
fn chosen_variant<'a>(names: &[&'a str], stem: &str) -> Option<&'a str> {
    let variants = names.iter().filter_map(|name| variant_of(name, stem));
    let variants: BTreeSet<&str> = variants.collect();
    let mut known = ["", "fp32", "fp16", "bf16"].iter();
    known.find_map(|tag| variants.get(tag)).copied()
}

/// The first folder whose weights are all of kinds that are not read, and one of these files.
pub(super) fn unread(files: &[String]) -> Option<(&str, &str)> {
    let inside = files.iter().filter_map(|file| file.split_once('/'));
    let mut unread = inside.clone().filter(|(folder, name)| {
        let Some(Part::Network(stem)) = Part::of(folder) else {
            return false;
        };
        let others = inside.clone().filter(|(other, _)| other == folder);
        let others: Vec<&str> = others.map(|(_, name)| name).collect();
        let is_weights = ["bin", "safetensors"]
            .iter()
            .any(|kind| is_kind(name, kind));
        is_weights && !name.contains('/') && chosen_variant(&others, stem).is_none()
    });
    unread.next()
}

/// Whether a file's name ends in `.kind`.
pub(super) fn is_kind(name: &str, kind: &str) -> bool {
    Path::new(name).extension() == Some(OsStr::new(kind))
}

/// The index of weights in several files.
#[derive(Deserialize)]
struct Shards {
    weight_map: BTreeMap<String, String>,
}

/// What the pipeline in `folder` lacks, as far as its own index tells.
pub(super) fn lacking(folder: &Path) -> Vec<String> {
    let index = fs::read_to_string(folder.join(INDEX));
    let Ok(text) = index else {
        return vec![INDEX.to_owned()];
    };
    let index: BTreeMap<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    let is_used = |value: &Value| match value.as_array() {
        Some(class) => !class.iter().all(Value::is_null), // `[null, null]`: left out
        None => false,
    };
    let used = index.iter().filter(|(_, value)| is_used(value));
    used.flat_map(|(name, _)| lacking_part(folder, name))
        .collect()
}

fn lacking_part(folder: &Path, name: &str) -> Vec<String> {
    let entries = fs::read_dir(folder.join(name)).into_iter().flatten();
    let entries = entries.flatten().filter(|entry| entry.path().is_file());
    let names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let has = |file: &str| names.contains(&file);
    let missing = match Part::of(name) {
        Some(Part::Network(stem)) => {
            let mut missing = lacking_weights(&folder.join(name), &names, stem);
            missing.extend((!has("config.json")).then(|| "config.json".to_owned()));
            missing
        }
        Some(Part::Scheduler) if !has("scheduler_config.json") => {
            vec!["scheduler_config.json".to_owned()]
        }
        Some(Part::Tokenizer) => {
            let is_whole = ["tokenizer.json", "vocab.txt", "spiece.model"]
                .into_iter()
                .any(has)
                || (has("vocab.json") && has("merges.txt"));
            let missing = (!is_whole).then(|| "tokenizer.json".to_owned());
            missing.into_iter().collect()
        }
        _ => Vec::new(),
    };
    let missing = missing.iter();
    missing.map(|file| format!("{name}/{file}")).collect()
}

/// The missing files of weights called `stem` in `folder`, which holds `names`.
fn lacking_weights(folder: &Path, names: &[&str], stem: &str) -> Vec<String> {
    let chosen = chosen_variant(names, stem);
    let files = names.iter().filter(|name| variant_of(name, stem) == chosen);
    let files: Vec<&&str> = files.filter(|_| chosen.is_some()).collect();
    let index = files.iter().find(|name| name.contains(".index."));
    let Some(index) = index else {
        let is_single = |name: &&&&str| !name.contains("-of-");
        let missing = match (files.iter().find(is_single), files.is_empty()) {
            (Some(_), _) => None,
            (None, true) => Some(format!("{stem}.safetensors")),
            (None, false) => Some(format!("{stem}.safetensors.index.json")),
        };
        return missing.into_iter().collect();
    };
    let text = fs::read_to_string(folder.join(index)).unwrap_or_default();
    let shards = serde_json::from_str::<Shards>(&text).map(|shards| shards.weight_map);
    let shards: BTreeSet<String> = shards.unwrap_or_default().into_values().collect();
    let is_missing = |shard: &String| !names.contains(&shard.as_str());
    shards.into_iter().filter(is_missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn only_what_is_read_is_wanted() {
        let read = files(&[
            "scheduler/scheduler_config.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "text_encoder_3/model-00001-of-00002.safetensors",
            "text_encoder_3/model-00002-of-00002.safetensors",
            "text_encoder_3/model.safetensors.index.json",
            "tokenizer/added_tokens.json",
            "tokenizer/merges.txt",
            "tokenizer/special_tokens_map.json",
            "tokenizer/tokenizer_config.json",
            "tokenizer/vocab.json",
            "tokenizer_2/vocab.txt",
            "tokenizer_3/spiece.model",
            "tokenizer_3/tokenizer.json",
            "transformer/config.json",
            "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
            "vae/diffusion_pytorch_model.safetensors",
            INDEX,
        ]);
        let others = files(&[
            "README.md",
            "sd3_medium.safetensors",
            "tokenizer.json",
            "text_encoders/t5xxl_fp16.safetensors",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/openvino_model.xml",
            "text_encoder/pytorch_model.bin",
            "text_encoder/pytorch_model.bin.index.json",
            "text_encoder_3/model.fp16-00001-of-00002.safetensors",
            "text_encoder_3/model.safetensors.index.fp16.json",
            "tokenizer/.ipynb_checkpoints/tokenizer-checkpoint.json",
            "transformer/old/config.json",
            "transformer/old/diffusion_pytorch_model.safetensors",
            "transformer/ema.safetensors",
            "transformer/../../config.json",
            "vae/diffusion_pytorch_model.bin",
            "vae/onnx/model.onnx",
            "vae_1_0/diffusion_pytorch_model.safetensors",
            "onnx/model_index.json",
        ]);
        let all: Vec<_> = others.iter().chain(&read).cloned().collect();
        assert_eq!(wanted(&all), read);
    }

    #[test]
    fn a_variant_is_wanted_where_nothing_else_is() {
        let of = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| format!("unet/{name}")).collect();
            let wanted = wanted(&names).into_iter();
            wanted.map(|name| name[5..].to_owned()).collect::<Vec<_>>()
        };
        let [plain, half, brain, ema] = ["", ".fp16", ".bf16", ".non_ema"]
            .map(|tag| format!("diffusion_pytorch_model{tag}.safetensors"));
        let [plain, half, brain, ema] = [&*plain, &*half, &*brain, &*ema];
        assert_eq!(of(&[half, plain, ema]), [plain]);
        assert_eq!(of(&[brain, half]), [half]);
        assert_eq!(of(&[brain, ema]), [brain]);
        assert_eq!(of(&[ema]), [""; 0]);
        let shards = [
            "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
            "diffusion_pytorch_model-00002-of-00002.fp16.safetensors",
            "diffusion_pytorch_model.safetensors.index.fp16.json",
        ];
        assert_eq!(of(&shards), shards);
    }

    #[test]
    fn weights_that_are_not_read_are_named() {
        let of = |weights: &[&str]| {
            let all = [
                &[
                    "vae/diffusion_pytorch_model.safetensors",
                    "unet/config.json",
                ],
                weights,
            ];
            let all = files(&all.concat());
            unread(&all).map(|(folder, name)| format!("{folder}/{name}"))
        };
        let pickle = "unet/diffusion_pytorch_model.bin";
        let ema = "unet/diffusion_pytorch_model.non_ema.safetensors";
        assert_eq!(of(&[pickle]).as_deref(), Some(pickle));
        assert_eq!(of(&[ema]).as_deref(), Some(ema));
        for read in ["", ".fp16"] {
            let read = format!("unet/diffusion_pytorch_model{read}.safetensors");
            assert_eq!(of(&[pickle, ema, &read]), None);
        }
        assert_eq!(of(&["image_encoder/model.bin", "unet/old/model.bin"]), None);
    }

    #[test]
    fn what_lacks_is_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let root = dir.path();
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("below")).expect("writable");
            fs::write(path, text).expect("writable");
        };
        assert_eq!(lacking(root), [INDEX]);
        write(
            INDEX,
            r#"{"_class_name": "P", "scheduler": ["d", "S"], "text_encoder_3": [null, null], "tokenizer": ["t", "T"],
               "transformer": ["d", "T"], "vae": ["d", "V"], "image_encoder": ["t", "I"], "force_zeros": true}"#,
        );
        let weights = "diffusion_pytorch_model";
        assert_eq!(
            lacking(root),
            [
                "scheduler/scheduler_config.json".to_owned(),
                "tokenizer/tokenizer.json".to_owned(),
                format!("transformer/{weights}.safetensors"),
                "transformer/config.json".to_owned(),
                format!("vae/{weights}.safetensors"),
                "vae/config.json".to_owned(),
            ]
        );
        for name in ["scheduler/scheduler_config.json", "tokenizer/vocab.json"] {
            write(name, "{}");
        }
        write("tokenizer/merges.txt", "");
        write("vae/config.json", "{}");
        write(&format!("vae/{weights}.fp16.safetensors"), "");
        write("transformer/config.json", "{}");
        let shard = |number: i32| format!("{weights}-0000{number}-of-00002.safetensors");
        write(&format!("transformer/{}", shard(1)), "");
        let index = format!("transformer/{weights}.safetensors.index.json");
        assert_eq!(lacking(root), [&*index]);
        let map = serde_json::json!({ "weight_map": { "a": shard(1), "b": shard(2) } });
        write(&index, &map.to_string());
        assert_eq!(lacking(root), [format!("transformer/{}", shard(2))]);
        write(&format!("transformer/{}", shard(2)), "");
        assert_eq!(lacking(root), [""; 0]);
    }
}
