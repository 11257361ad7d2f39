//! Token ids against transformers' tokenizers, for 200 prompts of many scripts and lengths.

use std::{collections::BTreeMap, fs, path::Path};

use dmdr_models::{ModelError, TextTokenizer};
use serde::Deserialize;

use crate::fixture;

#[derive(Deserialize)]
struct Expected {
    pad: i64,
    length: usize,
    /// Without padding.
    rows: Vec<Vec<i64>>,
}

type Load = fn(&Path, usize) -> Result<TextTokenizer, ModelError>;

fn prompts() -> Vec<String> {
    let text = fs::read_to_string(fixture::path("text/prompts.jsonl")).expect("prompts");
    let prompt = |line: &str| serde_json::from_str(line).expect("a string");
    text.lines().map(prompt).collect()
}

/// The tokenizer in `folder` makes the ids that transformers makes with the one in `reference`.
fn agrees(load: Load, folder: &str, reference: &str) {
    let text = fs::read(fixture::path("text/ids.json")).expect("ids");
    let mut all: BTreeMap<String, Expected> = serde_json::from_slice(&text).expect("ids");
    let expected = all.remove(reference).expect("ids of this tokenizer");
    let tokenizer = load(&fixture::path("text").join(folder), expected.length).expect("fits");
    let prompts = prompts();
    assert_eq!(prompts.len(), 200);
    let texts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let tokens = tokenizer.encode(&texts).expect("encodes");
    let ids = Vec::<Vec<i64>>::try_from(&tokens.ids).expect("i64");
    let lengths = Vec::<i64>::try_from(&tokens.lengths).expect("i64");
    for (index, prompt) in prompts.iter().enumerate() {
        let mut row = expected.rows[index].clone();
        assert_eq!(lengths[index], row.len() as i64, "{folder}: {prompt:?}");
        row.resize(expected.length, expected.pad);
        assert_eq!(ids[index], row, "{folder}: {prompt:?}");
    }
    assert!(lengths.contains(&(expected.length as i64)), "one is cut");
}

#[test]
fn clip() {
    agrees(TextTokenizer::clip, "sdxl/tokenizer", "sdxl/tokenizer");
    agrees(TextTokenizer::clip, "sd3/tokenizer", "sdxl/tokenizer");
}

/// bigG's, where a word is the padding.
#[test]
fn clip_that_pads_with_a_word() {
    agrees(TextTokenizer::clip, "sdxl/tokenizer_2", "sdxl/tokenizer_2");
    agrees(TextTokenizer::clip, "sd3/tokenizer_2", "sdxl/tokenizer_2");
}

#[test]
fn t5() {
    agrees(TextTokenizer::t5, "sd3/tokenizer_3", "sd3/tokenizer_3");
}

/// With its chat template.
#[test]
fn qwen3() {
    agrees(
        TextTokenizer::qwen3,
        "z_image/tokenizer",
        "z_image/tokenizer",
    );
}

#[test]
fn missing_files_are_named() {
    let folder = |name: &str| fixture::path("text").join(name);
    let error = |load: Load, name: &str| load(&folder(name), 77).expect_err("refused").to_string();
    let message = error(TextTokenizer::t5, "sdxl/tokenizer"); // whose older files are of another kind
    assert!(
        message.contains("sdxl/tokenizer/tokenizer.json"),
        "{message}"
    );
    let message = error(TextTokenizer::clip, "sd3/text_encoder");
    assert!(message.contains("sd3/text_encoder/vocab.json"), "{message}");
}
