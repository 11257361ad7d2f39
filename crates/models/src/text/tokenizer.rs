//! Prompts as token ids, the way transformers' tokenizers make them: `tokenizer.json`, or for CLIP also the older
//! `vocab.json` with `merges.txt`; beside it `tokenizer_config.json`, which names the padding token.
//!
//! Parity is with transformers 5.23.0, whose CLIP tokenizer normalises by Unicode's NFC; version 4 repaired text with
//! ftfy where that was installed.

use std::{
    fmt::Display,
    path::{Path, PathBuf},
};

use dmdr_tensor::Tensor;
use serde_json::{Map, Value, json};
use tokenizers::{AddedToken, TruncationParams};

use crate::{ModelError, json::read_bytes as read};

const CLIP_START: &str = "<|startoftext|>";
const CLIP_END: &str = "<|endoftext|>";
/// What CLIP takes for a word: special tokens, contractions, letters, one digit, or other signs.
const CLIP_WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// A tokenizer with the length and the padding its encoder expects.
#[derive(Debug)]
pub struct TextTokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
    max_tokens: usize,
    pad: u32,
    is_chat: bool,
}

/// Tokens of a batch of prompts.
#[derive(Debug)]
pub struct Tokens {
    /// `[B, L]`, i64, on the CPU; every row is padded behind to the same length.
    pub ids: Tensor,
    /// Tokens of each prompt with its special ones, without padding, `[B]`, i64, on the CPU.
    pub lengths: Tensor,
}

impl TextTokenizer {
    /// CLIP's tokenizer in `folder`: start and end token around a prompt, cut to `max_tokens` with them, padded.
    ///
    /// # Errors
    /// Files that are missing or cannot be used.
    pub fn clip(folder: &Path, max_tokens: usize) -> Result<Self, ModelError> {
        let path = folder.join("tokenizer.json");
        if path.is_file() {
            return Self::new(path, max_tokens, false);
        }
        let path = folder.join("vocab.json");
        let inner = serde_json::from_value(clip_tokenizer(folder)?)
            .map_err(|error| unusable(&path, &error))?;
        Self::finish(path, inner, max_tokens, false)
    }

    /// T5's tokenizer in `folder`: an end token behind a prompt, cut to `max_tokens` with it, padded.
    ///
    /// # Errors
    /// Files that are missing or cannot be used.
    pub fn t5(folder: &Path, max_tokens: usize) -> Result<Self, ModelError> {
        Self::new(folder.join("tokenizer.json"), max_tokens, false)
    }

    /// BERT's tokenizer in `folder`: `[CLS]` and `[SEP]` around a prompt, cut to `max_tokens` with them, padded.
    ///
    /// # Errors
    /// Files that are missing or cannot be used.
    pub fn bert(folder: &Path, max_tokens: usize) -> Result<Self, ModelError> {
        Self::new(folder.join("tokenizer.json"), max_tokens, false)
    }

    /// Qwen3's tokenizer in `folder`: a prompt becomes a user's message that the model is about to answer, thinking,
    /// cut to `max_tokens` and padded.
    ///
    /// # Errors
    /// Files that are missing or cannot be used.
    pub fn qwen3(folder: &Path, max_tokens: usize) -> Result<Self, ModelError> {
        Self::new(folder.join("tokenizer.json"), max_tokens, true)
    }

    fn new(path: PathBuf, max_tokens: usize, is_chat: bool) -> Result<Self, ModelError> {
        let inner = tokenizers::Tokenizer::from_bytes(read(&path)?)
            .map_err(|error| unusable(&path, &error))?;
        Self::finish(path, inner, max_tokens, is_chat)
    }

    /// Reads the padding token. It becomes a special token even where it is a word otherwise, as transformers makes it:
    /// the second tokenizer of SDXL and SD3 pads with `!`, whose ids in a prompt are then those of padding.
    fn finish(
        path: PathBuf,
        mut inner: tokenizers::Tokenizer,
        max_tokens: usize,
        is_chat: bool,
    ) -> Result<Self, ModelError> {
        let config = path.with_file_name("tokenizer_config.json");
        let fields: Value =
            serde_json::from_slice(&read(&config)?).map_err(|error| unusable(&config, &error))?;
        let token = &fields["pad_token"]; // text, or an object with its flags
        let token = token
            .as_str()
            .or_else(|| token["content"].as_str())
            .ok_or_else(|| unusable(&config, &"it names no `pad_token`"))?;
        let Some(pad) = inner.token_to_id(token) else {
            let reason = format!("it lacks the padding token `{token}`");
            return Err(unusable(&path, &reason));
        };
        inner
            .add_special_tokens([AddedToken::from(token, true)])
            .and_then(|_| {
                inner
                    .with_padding(None)
                    .with_truncation(Some(TruncationParams {
                        max_length: max_tokens,
                        ..TruncationParams::default()
                    }))
            })
            .map_err(|error| unusable(&path, &error))?;
        Ok(Self {
            path,
            inner,
            max_tokens,
            pad,
            is_chat,
        })
    }

    /// Length of every row of tokens.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Tokens of each prompt, in order.
    ///
    /// # Errors
    /// A prompt that the tokenizer refuses.
    pub fn encode(&self, prompts: &[&str]) -> Result<Tokens, ModelError> {
        let mut ids: Vec<i64> = Vec::with_capacity(prompts.len() * self.max_tokens);
        let mut lengths = Vec::with_capacity(prompts.len());
        for (row, prompt) in (1..).zip(prompts) {
            let chat = self.is_chat.then(|| qwen3_chat(prompt));
            let encoding = self
                .inner
                .encode_fast(chat.as_deref().unwrap_or(prompt), true)
                .map_err(|error| unusable(&self.path, &error))?;
            ids.extend(encoding.get_ids().iter().map(|&id| i64::from(id)));
            lengths.push(encoding.len() as i64);
            ids.resize(row * self.max_tokens, i64::from(self.pad));
        }
        let shape = [prompts.len() as i64, self.max_tokens as i64];
        Ok(Tokens {
            ids: Tensor::from_slice(&ids).reshape(shape),
            lengths: Tensor::from_slice(&lengths),
        })
    }
}

/// Qwen3's chat template for one message of a user, with generation prompt, thinking enabled.
fn qwen3_chat(prompt: &str) -> String {
    format!("<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n")
}

/// The `tokenizer.json` that transformers' `CLIPTokenizer` makes of `vocab.json` and `merges.txt`.
fn clip_tokenizer(folder: &Path) -> Result<Value, ModelError> {
    let path = folder.join("vocab.json");
    let vocabulary: Map<String, Value> =
        serde_json::from_slice(&read(&path)?).map_err(|error| unusable(&path, &error))?;
    let id = |token: &str| {
        let reason = format!("it lacks the token `{token}`");
        let id = vocabulary.get(token).cloned();
        id.ok_or_else(|| unusable(&path, &reason))
    };
    let (start, end) = (id(CLIP_START)?, id(CLIP_END)?);
    let special = |token: &str, id: &Value| {
        json!({
            "id": id, "content": token, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        })
    };
    let merges = folder.join("merges.txt");
    let text = String::from_utf8(read(&merges)?).map_err(|error| unusable(&merges, &error))?;
    let is_pair = |line: &&str| !line.is_empty() && !line.starts_with("#version");
    let pairs: Vec<&str> = text.lines().filter(is_pair).collect();
    Ok(json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(CLIP_START, &start), special(CLIP_END, &end)],
        "normalizer": { "type": "Sequence", "normalizers": [
            { "type": "NFC" },
            { "type": "Replace", "pattern": { "Regex": r"\s+" }, "content": " " },
            { "type": "Lowercase" },
        ] },
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Split", "pattern": { "Regex": CLIP_WORDS }, "behavior": "Removed", "invert": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        ] },
        "post_processor": {
            "type": "RobertaProcessing", "sep": [CLIP_END, end], "cls": [CLIP_START, start],
            "trim_offsets": false, "add_prefix_space": false,
        },
        "decoder": null,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": CLIP_END, "continuing_subword_prefix": "",
            "end_of_word_suffix": "</w>", "fuse_unk": false, "byte_fallback": false,
            "vocab": vocabulary, "merges": pairs,
        },
    }))
}

fn unusable(path: &Path, reason: &dyn Display) -> ModelError {
    ModelError::Tokenizer {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
