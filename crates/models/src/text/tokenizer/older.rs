//! The `tokenizer.json` that transformers' classes make of the older files: `vocab.json` with
//! `merges.txt` (CLIP, Qwen2), `vocab.txt` (BERT). And open_clip's tokenizer, which has CLIP's
//! vocabulary and rules of its own.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tokenizers::Tokenizer;

use super::{class::Class, files::TokenizerFiles, unusable::unusable};
use crate::{ModelError, json::read_bytes as read};

/// What CLIP takes for a word: special tokens, contractions, letters, one digit, or other signs.
const CLIP_WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
/// The same of open_clip.
const OPEN_CLIP_WORDS: &str =
    r"<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
const QWEN2_WORDS: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
);
const MERGES: &str = "merges.txt";

type Made = Result<(PathBuf, Tokenizer), ModelError>;

/// CLIP's of `vocab.json` and `merges.txt`.
pub(super) fn clip(files: &TokenizerFiles) -> Made {
    let path = files.path("vocab.json");
    let vocabulary = vocabulary(&path)?;
    let text = |name: &str| {
        let token = files.named(Class::Clip, name);
        token.map(|token| token.content).unwrap_or_default()
    };
    let (start, end) = (text("bos_token"), text("eos_token"));
    let ids = [
        token_id(&path, &vocabulary, &start)?,
        token_id(&path, &vocabulary, &end)?,
    ];
    let normalizer = json!({ "type": "Sequence", "normalizers": [
        { "type": "NFC" },
        { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
        { "type": "Lowercase" },
    ] });
    let merges = merges(&files.path(MERGES))?;
    let made = json!({
        "version": "1.0",
        "normalizer": normalizer,
        "pre_tokenizer": clip_words(CLIP_WORDS),
        "post_processor": around([&start, &end], ids),
        "model": bpe(&vocabulary, &merges, Some(&text("unk_token")), "</w>"),
    });
    tokenizer(path, made)
}

/// open_clip's of CLIP's vocabulary in `folder`, in either form.
pub(super) fn open_clip(folder: &Path) -> Made {
    let path = folder.join("tokenizer.json");
    let (path, mut vocabulary, merges) = if path.is_file() {
        let mut all: Value =
            serde_json::from_slice(&read(&path)?).map_err(|error| unusable(&path, &error))?;
        let model = &mut all["model"];
        let vocabulary = serde_json::from_value(model["vocab"].take())
            .map_err(|error| unusable(&path, &error))?;
        let merges = model["merges"].take();
        (path, vocabulary, merges)
    } else {
        let path = folder.join("vocab.json");
        let vocabulary = vocabulary(&path)?;
        (path, vocabulary, merges(&folder.join(MERGES))?)
    };
    let names = ["<start_of_text>", "<end_of_text>"];
    let mut ids = [0, 0];
    for (role, (id, name)) in ["bos_token", "eos_token"]
        .iter()
        .zip(ids.iter_mut().zip(names))
    {
        let token = Class::OpenClip.default_token(role).unwrap_or_default();
        *id = token_id(&path, &vocabulary, token)?;
        vocabulary.remove(token);
        vocabulary.insert(name.to_owned(), (*id).into());
    }
    let special = |(name, id): (&str, u32)| {
        json!({
            "id": id, "content": name, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let made = json!({
        "version": "1.0",
        "added_tokens": names.into_iter().zip(ids).map(special).collect::<Vec<_>>(),
        "pre_tokenizer": clip_words(OPEN_CLIP_WORDS),
        "post_processor": around(names, ids),
        "model": bpe(&vocabulary, &merges, None, "</w>"),
    });
    tokenizer(path, made)
}

/// Qwen2's of `vocab.json` and `merges.txt`.
pub(super) fn qwen2(files: &TokenizerFiles) -> Made {
    let path = files.path("vocab.json");
    let vocabulary = vocabulary(&path)?;
    let has_space = files.flag("add_prefix_space").unwrap_or(false);
    let merges = merges(&files.path(MERGES))?;
    let words = json!({
        "type": "Split", "pattern": { "Regex": QWEN2_WORDS },
        "behavior": "Isolated", "invert": false,
    });
    let bytes = json!({
        "type": "ByteLevel", "add_prefix_space": has_space,
        "trim_offsets": true, "use_regex": false,
    });
    let made = json!({
        "version": "1.0",
        "normalizer": { "type": "NFC" },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [words, bytes] },
        "model": bpe(&vocabulary, &merges, None, ""),
    });
    tokenizer(path, made)
}

/// BERT's of `vocab.txt`, a token a line.
pub(super) fn bert(files: &TokenizerFiles) -> Made {
    let path = files.path("vocab.txt");
    let text = text(&path)?;
    let vocabulary: Map<String, Value> = text
        .lines()
        .zip(0u32..)
        .map(|(token, id)| (token.trim_end().to_owned(), id.into()))
        .collect();
    let named = |name: &str| {
        let token = files.named(Class::Bert, name);
        token.map(|token| token.content).unwrap_or_default()
    };
    let (start, end) = (named("cls_token"), named("sep_token"));
    let [first, last] = [
        token_id(&path, &vocabulary, &start)?,
        token_id(&path, &vocabulary, &end)?,
    ];
    let special = |token: &str| json!({ "SpecialToken": { "id": token, "type_id": 0 } });
    let sequence = |id: &str| json!({ "Sequence": { "id": id, "type_id": 0 } });
    let made = json!({
        "version": "1.0",
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true,
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [special(&start), sequence("A"), special(&end)],
            "pair": [special(&start), sequence("A"), special(&end), sequence("B"), special(&end)],
            "special_tokens": {
                (start.as_str()): { "id": start, "ids": [first], "tokens": [start] },
                (end.as_str()): { "id": end, "ids": [last], "tokens": [end] },
            },
        },
        "model": {
            "type": "WordPiece", "unk_token": named("unk_token"), "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary,
        },
    });
    tokenizer(path, made)
}

fn clip_words(words: &str) -> Value {
    json!({ "type": "Sequence", "pretokenizers": [
        { "type": "Split", "pattern": { "Regex": words }, "behavior": "Removed", "invert": true },
        { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
    ] })
}

/// A start and an end token around a text.
fn around([start, end]: [&str; 2], [first, last]: [u32; 2]) -> Value {
    json!({
        "type": "RobertaProcessing", "sep": [end, last], "cls": [start, first],
        "trim_offsets": false, "add_prefix_space": false,
    })
}

fn bpe(
    vocabulary: &Map<String, Value>,
    merges: &Value,
    unknown: Option<&str>,
    suffix: &str,
) -> Value {
    json!({
        "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": "",
        "end_of_word_suffix": suffix, "fuse_unk": false, "byte_fallback": false,
        "vocab": vocabulary, "merges": merges,
    })
}

fn tokenizer(path: PathBuf, made: Value) -> Made {
    let inner = serde_json::from_value(made).map_err(|error| unusable(&path, &error))?;
    Ok((path, inner))
}

fn token_id(path: &Path, vocabulary: &Map<String, Value>, token: &str) -> Result<u32, ModelError> {
    let id = vocabulary.get(token).and_then(Value::as_u64);
    id.map(|id| id as u32)
        .ok_or_else(|| unusable(path, &format!("it lacks the token `{token}`")))
}

fn vocabulary(path: &Path) -> Result<Map<String, Value>, ModelError> {
    serde_json::from_slice(&read(path)?).map_err(|error| unusable(path, &error))
}

/// Pairs, one a line; a first line that tells the version is none.
fn merges(path: &Path) -> Result<Value, ModelError> {
    let text = text(path)?;
    let is_pair = |line: &&str| !line.is_empty() && !line.starts_with("#version");
    Ok(text.lines().filter(is_pair).collect())
}

fn text(path: &Path) -> Result<String, ModelError> {
    String::from_utf8(read(path)?).map_err(|error| unusable(path, &error))
}
