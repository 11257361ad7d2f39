//! Tokenizers whose folders hold other small files than usual, against transformers: added tokens
//! with their flags, no config, the special tokens' map alone, older forms of the vocabulary.

use std::{collections::BTreeMap, fs, path::Path};

use dmdr_models::{ModelError, SdxlText, TextEncoder, TextTokenizer};
use dmdr_tensor::{Device, Runtime};
use serde::Deserialize;
use tempfile::TempDir;

use crate::fixture;

#[derive(Deserialize)]
struct Fixture {
    prompts: Vec<String>,
    length: usize,
    cases: Vec<Case>,
}

/// A folder of the text fixtures, without some files and with others.
#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    base: String,
    files: BTreeMap<String, String>,
    without: Vec<String>,
    /// With padding.
    rows: Vec<Vec<i64>>,
}

/// A copy of `base`, without some files and with others.
fn folder(base: &str, without: &[&str], files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    for entry in fs::read_dir(fixture::path("text").join(base)).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name").to_owned();
        if !without.iter().any(|left_out| name == *left_out) {
            fs::copy(&path, dir.path().join(name)).expect("copied");
        }
    }
    for (name, content) in files {
        fs::write(dir.path().join(name), content).expect("writable");
    }
    dir
}

fn load(kind: &str, folder: &Path, length: usize) -> Result<TextTokenizer, ModelError> {
    match kind {
        "clip" => TextTokenizer::clip(folder, length),
        "bert" => TextTokenizer::bert(folder, length),
        "t5" => TextTokenizer::t5(folder, length),
        "qwen3" => TextTokenizer::qwen3(folder, length),
        other => panic!("{other}"),
    }
}

fn refusal(kind: &str, folder: &TempDir) -> String {
    let error = load(kind, folder.path(), 24).expect_err("refused");
    let message = error.to_string();
    assert_eq!(message.lines().count(), 1, "{message}");
    message
}

#[test]
fn every_file_counts() {
    let text = fs::read(fixture::path("text/tokenizer_files.json")).expect("cases");
    let Fixture {
        prompts,
        length,
        cases,
    } = serde_json::from_slice(&text).expect("cases");
    assert!(cases.len() > 20);
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let mut different = Vec::new();
    for case in &cases {
        let without: Vec<&str> = case.without.iter().map(String::as_str).collect();
        let files: Vec<(&str, &str)> = case
            .files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let dir = folder(&case.base, &without, &files);
        let tokenizer = match load(&case.kind, dir.path(), length) {
            Ok(tokenizer) => tokenizer,
            Err(error) => {
                different.push(format!("{}: {error}", case.name));
                continue;
            }
        };
        let ids = tokenizer.encode(&prompts).expect("encodes").ids;
        let rows = Vec::<Vec<i64>>::try_from(&ids).expect("i64");
        for ((prompt, row), expected) in prompts.iter().zip(&rows).zip(&case.rows) {
            if row != expected {
                different.push(format!(
                    "{}: {prompt:?}\n  {row:?}\n  {expected:?}",
                    case.name
                ));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn open_clip_knows_no_special_tokens_of_the_folder() {
    let ids = |base: &str| {
        let dir = folder(base, &[], &[]);
        let tokenizer = TextTokenizer::open_clip(dir.path(), 12).expect("fits");
        let tokens = tokenizer.encode(&["Wow! A cat!!"]).expect("encodes");
        Vec::<i64>::try_from(&tokens.ids.reshape([-1])).expect("i64")
    };
    let found = ids("sdxl/tokenizer");
    assert_eq!(found[found.len() - 1], 0, "padding");
    for base in ["sdxl/tokenizer_2", "sd3/tokenizer", "sd3/tokenizer_2"] {
        assert_eq!(ids(base), found, "{base}");
    }
}

#[test]
fn what_cannot_be_built_is_named() {
    let config = "tokenizer_config.json";
    let clip = |file: &str, text: &str| folder("sdxl/tokenizer", &[], &[(file, text)]);
    for (file, text, named) in [
        (
            config,
            r#"{ "pad_token": "<pad>" }"#,
            "padding token `<pad>`; name the right one as `pad_token`",
        ),
        (
            config,
            r#"{ "padding_side": "left" }"#,
            "`padding_side` is \"left\", but only \"right\"",
        ),
        (
            config,
            r#"{ "added_tokens_decoder": 1 }"#,
            "`added_tokens_decoder`: ",
        ),
        (config, "[1]", config),
        (
            "added_tokens.json",
            r#"{ "<x>": 9000 }"#,
            "token `<x>` the id 9000, but the vocabulary gives it",
        ),
        ("special_tokens_map.json", "{", "special_tokens_map.json"),
        ("vocab.json", "{}", "lacks the token `<|startoftext|>`"),
    ] {
        let message = refusal("clip", &clip(file, text));
        assert!(
            message.contains(named) && message.contains(".json"),
            "{message}"
        );
    }
    let spiece = folder(
        "sd3/tokenizer_3",
        &["tokenizer.json"],
        &[("spiece.model", "x")],
    );
    let message = refusal("t5", &spiece);
    assert!(
        message.contains("spiece.model") && message.contains("save_pretrained"),
        "{message}"
    );
    let files = [("vocab.json", "{}"), ("merges.txt", "#version: 0.2\n")];
    let bare = folder("z_image/tokenizer", &["tokenizer.json"], &files);
    let message = refusal("qwen3", &bare);
    assert!(
        message.contains("lacks `<|im_start|>`, a token of the chat template"),
        "{message}"
    );
    let bert = "../../../../rewards/tests/fixtures/bert_tokenizer";
    let message = refusal("bert", &folder(bert, &["tokenizer.json"], &[]));
    assert!(message.contains("vocab.txt"), "{message}");
}

#[test]
fn a_length_below_the_encoders_counts() {
    let length = |config: &str| {
        let dir = folder("sdxl/tokenizer", &[], &[("tokenizer_config.json", config)]);
        TextTokenizer::model_max_length(dir.path()).map_err(|error| error.to_string())
    };
    assert_eq!(length(r#"{ "model_max_length": 64 }"#), Ok(Some(64)));
    assert_eq!(length(r#"{ "max_len": 64 }"#), Ok(Some(64)));
    assert_eq!(
        length(r#"{ "model_max_length": 1000000000000000019884624838656 }"#),
        Ok(None)
    );
    assert_eq!(length("{}"), Ok(None));
    let error = length(r#"{ "model_max_length": 1 }"#).expect_err("refused");
    assert!(error.contains("`model_max_length` is 1"), "{error}");
}

/// Where a tokenizer was given tokens, and its encoder was not.
#[test]
fn a_token_that_the_encoder_lacks_is_named() {
    let files = [(
        "tokenizer_config.json",
        r#"{ "extra_special_tokens": ["<cat-toy>"] }"#,
    )];
    let dir = folder("sdxl/tokenizer", &[], &files);
    let tokenizer = TextTokenizer::clip(dir.path(), 24).expect("fits");
    let ids = tokenizer.encode(&["a <cat-toy>"]).expect("encodes").ids;
    let rows = ids.max().int64_value(&[]);
    let tokenizer = tokenizer.for_table(rows);
    assert!(tokenizer.encode(&["a cat"]).is_ok());
    let error = tokenizer
        .encode(&["a <cat-toy>"])
        .expect_err("refused")
        .to_string();
    assert!(
        error.contains(&format!(
            "`<cat-toy>`, token {rows}, but the text encoder knows only {rows}"
        )),
        "{error}"
    );
}

/// SDXL's text fixture with the lengths of its two tokenizers.
fn sdxl_with_lengths(lengths: [usize; 2]) -> (TempDir, Result<SdxlText, ModelError>) {
    let dir = tempfile::tempdir().expect("temp dir");
    let source = fixture::path("text/sdxl");
    for name in ["text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"] {
        fs::create_dir(dir.path().join(name)).expect("writable");
        for entry in fs::read_dir(source.join(name)).expect("readable") {
            let path = entry.expect("readable").path();
            let copy = dir
                .path()
                .join(name)
                .join(path.file_name().expect("a name"));
            fs::copy(&path, copy).expect("copied");
        }
    }
    for (name, length) in ["tokenizer", "tokenizer_2"].into_iter().zip(lengths) {
        let config = format!(r#"{{ "model_max_length": {length} }}"#);
        let path = dir.path().join(name).join("tokenizer_config.json");
        fs::write(path, config).expect("writable");
    }
    let runtime = Runtime::f32(Device::Cpu);
    let text = SdxlText::load(dir.path(), runtime, true);
    (dir, text)
}

/// As diffusers has it: prompts are padded to the tokenizer's length; text before is not changed by it.
#[test]
fn prompts_of_a_pipeline_are_as_long_as_its_tokenizers_say() {
    let encode = |length| {
        let text = sdxl_with_lengths([length, length]).1.expect("fits");
        text.encode(&["a cat"]).expect("encodes").tokens
    };
    let (short, whole, more) = (encode(20), encode(77), encode(512));
    assert_eq!([short.size()[1], whole.size()[1]], [20, 77]);
    assert!(
        (short - whole.narrow(1, 0, 20))
            .abs()
            .max()
            .double_value(&[])
            < 1e-5
    );
    assert!(
        whole.equal(&more),
        "an encoder reads no more than it has places"
    );
    let error = sdxl_with_lengths([20, 77]).1.expect_err("refused");
    let message = error.to_string();
    assert!(
        message.contains("to 20 tokens, `tokenizer_2` to 77"),
        "{message}"
    );
}
