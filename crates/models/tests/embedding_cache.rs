//! Encoded prompts on disk: what comes back is what went in, over restarts; a broken file is named.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
};

use dmdr_models::{Conditioning, EmbeddingCache, ModelError, TextEncoder};
use dmdr_tensor::{Device, Kind, Tensor};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// Four tokens, of which a prompt of `n` bytes uses `n`, all of value `n`.
struct Lengths {
    num_encoded: Cell<usize>,
    rule: &'static str,
}

impl Lengths {
    fn new() -> Self {
        Self {
            num_encoded: Cell::new(0),
            rule: "lengths",
        }
    }
}

impl TextEncoder for Lengths {
    fn encode(&self, prompts: &[&str]) -> Result<Conditioning, ModelError> {
        self.num_encoded.set(self.num_encoded.get() + prompts.len());
        let row = |prompt: &&str| {
            let tokens = Tensor::zeros([4, 3], (Kind::Float, Device::Cpu));
            let _ = tokens
                .narrow(0, 0, prompt.len() as i64)
                .fill_(prompt.len() as f64);
            tokens
        };
        let tokens = Tensor::stack(&prompts.iter().map(row).collect::<Vec<_>>(), 0);
        let pooled = tokens.select(1, 0).narrow(1, 0, 2) + 0.1;
        Ok(Conditioning { tokens, pooled })
    }

    fn unconditional(&self) -> Result<Conditioning, ModelError> {
        self.encode(&[""])
    }
}

/// A pipeline's folder with one weight file and a cache beside it.
fn place() -> TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    fs::create_dir_all(dir.path().join("pipeline/text_encoder")).expect("writable");
    fs::write(weights(dir.path()), "weights").expect("writable");
    dir
}

fn weights(dir: &Path) -> PathBuf {
    dir.join("pipeline/text_encoder/model.safetensors")
}

fn open(dir: &Path, encoder: &Lengths, kind: Kind) -> Result<EmbeddingCache, ModelError> {
    EmbeddingCache::open(
        &dir.join("cache"),
        &dir.join("pipeline"),
        encoder.rule,
        kind,
    )
}

/// Prompts as a source gives them that never fails.
fn texts(prompts: &[&str]) -> Vec<Result<String, ModelError>> {
    prompts
        .iter()
        .map(|prompt| Ok((*prompt).to_owned()))
        .collect()
}

/// All files of all caches.
fn shards(dir: &Path) -> Vec<PathBuf> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).expect("readable");
        entries
            .map(|entry| entry.expect("readable").path())
            .collect()
    };
    list(&dir.join("cache"))
        .iter()
        .flat_map(|folder| list(folder))
        .collect()
}

fn agrees(cache: &EmbeddingCache, prompts: &[&str]) {
    let expected = Lengths::new().encode(prompts).expect("encodes");
    let found = cache.get(prompts, Device::Cpu).expect("there");
    assert!(found.tokens.equal(&expected.tokens) && found.pooled.equal(&expected.pooled));
}

#[test]
fn each_prompt_is_encoded_once() {
    let dir = place();
    let encoder = Lengths::new();
    let mut cache = open(dir.path(), &encoder, Kind::Float).expect("opens");
    assert!(!cache.contains("abc"));
    cache
        .fill(&encoder, texts(&["abc", "", "a", "abc", "日"]), 2)
        .expect("fills");
    assert_eq!(encoder.num_encoded.get(), 4);
    agrees(&cache, &["日", "", "abc", "abc"]);
    assert_eq!(shards(dir.path()).len(), 2);
    cache
        .insert_batch(&["a"], &encoder.encode(&["a"]).expect("encodes"))
        .expect("known");
    assert_eq!(shards(dir.path()).len(), 2);
    let error = cache
        .get(&["a", "abcd"], Device::Cpu)
        .expect_err("not there");
    assert!(
        error.to_string().contains("`abcd` was never encoded"),
        "{error}"
    );
}

#[test]
fn a_killed_process_goes_on_where_it_was() {
    let dir = place();
    let prompts = ["a", "ab", "abc", "abcd"];
    let encoder = Lengths::new();
    let mut cache = open(dir.path(), &encoder, Kind::Float).expect("opens");
    cache
        .fill(&encoder, texts(&prompts[..2]), 1)
        .expect("fills");
    drop(cache);
    let folder = shards(dir.path())[0].with_file_name(".half.safetensors.1-0.tmp");
    fs::write(folder, "half a fi").expect("writable"); // what a kill in the middle of a write leaves
    let encoder = Lengths::new();
    let mut cache = open(dir.path(), &encoder, Kind::Float).expect("opens");
    assert!(cache.contains("ab") && !cache.contains("abc"));
    cache.fill(&encoder, texts(&prompts), 3).expect("fills");
    assert_eq!(encoder.num_encoded.get(), 2);
    agrees(&cache, &prompts);
    agrees(
        &open(dir.path(), &encoder, Kind::Float).expect("opens"),
        &prompts,
    );
}

#[test]
fn other_weights_rules_and_kinds_do_not_answer() {
    let dir = place();
    let mut encoder = Lengths::new();
    let mut cache = open(dir.path(), &encoder, Kind::Float).expect("opens");
    cache.fill(&encoder, texts(&["ab"]), 1).expect("fills");
    let knows = |encoder: &Lengths, kind| {
        open(dir.path(), encoder, kind)
            .expect("opens")
            .contains("ab")
    };
    assert!(knows(&encoder, Kind::Float) && !knows(&encoder, Kind::BFloat16));
    encoder.rule = "widths";
    assert!(!knows(&encoder, Kind::Float));
    encoder.rule = "lengths";
    fs::write(weights(dir.path()), "others").expect("writable");
    assert!(!knows(&encoder, Kind::Float));
}

/// No prompt has the null's place, whatever characters it is made of; those that look alike are several.
#[test]
fn the_null_is_no_prompt() {
    let dir = place();
    let encoder = Lengths::new();
    let mut cache = open(dir.path(), &encoder, Kind::Float).expect("opens");
    let odd = ["", "\0", "\0\0", "null", "\u{1}", "a\0", "a"];
    let row = |value: f64| Conditioning {
        tokens: Tensor::full([1, 4, 3], value, (Kind::Float, Device::Cpu)),
        pooled: Tensor::full([1, 2], value, (Kind::Float, Device::Cpu)),
    };
    cache.fill(&encoder, texts(&odd[..3]), 2).expect("fills");
    assert!(!cache.contains_null());
    let error = cache.null(Device::Cpu).expect_err("not there").to_string();
    assert!(error.contains("the null was never encoded"), "{error}");
    cache.insert_null(&row(7.0)).expect("stored");
    cache.insert_null(&row(8.0)).expect("there already");
    cache.fill(&encoder, texts(&odd), 3).expect("fills");
    assert_eq!(encoder.num_encoded.get(), odd.len());
    for cache in [
        open(dir.path(), &encoder, Kind::Float).expect("opens"),
        cache,
    ] {
        agrees(&cache, &odd);
        assert!(cache.contains_null());
        let null = cache.null(Device::Cpu).expect("there");
        assert!(null.tokens.equal(&row(7.0).tokens) && null.pooled.equal(&row(7.0).pooled));
    }
}

/// In version 1 the null had the place of a prompt, which may have been encoded instead.
#[test]
fn caches_of_version_1_do_not_answer() {
    let dir = place();
    let encoder = Lengths::new();
    let mut cache = open(dir.path(), &encoder, Kind::Float).expect("opens");
    cache.fill(&encoder, texts(&["ab"]), 1).expect("fills");
    let mut name = Sha256::new();
    name.update("lengths, Float\ntext_encoder/model.safetensors ");
    name.update(Sha256::digest("weights"));
    let old = dir
        .path()
        .join("cache")
        .join(format!("{:x}", name.finalize()));
    let folder = shards(dir.path())[0].with_file_name("");
    fs::rename(folder, old).expect("renamed");
    let cache = open(dir.path(), &encoder, Kind::Float).expect("opens");
    assert!(!cache.contains("ab"));
}

#[test]
fn half_precision_is_widened() {
    let dir = place();
    let encoder = Lengths::new();
    let mut cache = open(dir.path(), &encoder, Kind::BFloat16).expect("opens");
    cache.fill(&encoder, texts(&["ab"]), 1).expect("fills");
    let found = cache.get(&["ab"], Device::Cpu).expect("there");
    assert_eq!([found.tokens.kind(), found.pooled.kind()], [Kind::Float; 2]);
    let error = (found.pooled.double_value(&[0, 0]) - 2.1).abs();
    assert!(error > 0.0 && error < 0.01, "{error}");
}

#[test]
fn a_broken_file_is_named() {
    let dir = place();
    let encoder = Lengths::new();
    let mut cache = open(dir.path(), &encoder, Kind::Float).expect("opens");
    cache.fill(&encoder, texts(&["ab"]), 1).expect("fills");
    let path = &shards(dir.path())[0];
    let good = fs::read(path).expect("readable");
    let check = |bytes: Vec<u8>| {
        fs::write(path, bytes).expect("writable");
        let error = open(dir.path(), &encoder, Kind::Float)
            .and_then(|cache| cache.get(&["ab"], Device::Cpu))
            .expect_err("broken")
            .to_string();
        let name = path.file_name().expect("a name").to_string_lossy();
        assert!(
            error.contains(&*name) && error.contains("delete the file"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    };
    let mut flipped = good.clone();
    *flipped.last_mut().expect("not empty") ^= 1;
    check(flipped);
    check(good[..good.len() - 5].to_vec());
    check(Vec::new());
    fs::write(path, good).expect("writable");
    agrees(
        &open(dir.path(), &encoder, Kind::Float).expect("opens"),
        &["ab"],
    );
}
