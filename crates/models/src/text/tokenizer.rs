//! Prompts as token ids, the way transformers' tokenizers make them: from `tokenizer.json`, or from
//! the older vocabulary files, with what the small files beside them say (`tokenizer/files.rs`).
//!
//! Parity is with transformers 5.23.0, whose CLIP tokenizer normalises by Unicode's NFC; version 4
//! repaired text with ftfy where that was installed. Rewards of open_clip have its own tokenizer.

mod backend;
mod class;
mod files;
mod older;
mod rules;
mod unusable;

use std::path::{Path, PathBuf};

use dmdr_tensor::Tensor;
use tokenizers::{PaddingDirection, TruncationDirection, TruncationParams};

use self::{backend::backend, class::Class, files::TokenizerFiles, unusable::unusable};
use crate::ModelError;

/// A tokenizer with the length and the padding its encoder expects.
#[derive(Debug)]
pub struct TextTokenizer {
    path: PathBuf,
    inner: tokenizers::Tokenizer,
    class: Class,
    max_tokens: usize,
    pad: u32,
    /// Rows of the encoder's table.
    rows: i64,
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
    /// CLIP's tokenizer in `folder`: start and end token around a prompt, cut to `max_tokens` with
    /// them, padded.
    ///
    /// # Errors
    /// Files that are missing or cannot be used.
    pub fn clip(folder: &Path, max_tokens: usize) -> Result<Self, ModelError> {
        Self::new(Class::Clip, folder, max_tokens)
    }

    /// open_clip's tokenizer, with the vocabulary of CLIP's in `folder`: it knows no special tokens
    /// of that folder and pads with 0. Captions must have been cleaned; they become lower case
    /// here.
    ///
    /// # Errors
    /// Files that are missing or cannot be used.
    pub fn open_clip(folder: &Path, max_tokens: usize) -> Result<Self, ModelError> {
        let (path, inner) = older::open_clip(folder)?;
        let right = TruncationDirection::Right;
        Self::cut(path, inner, Class::OpenClip, max_tokens, right, 0)
    }

    /// T5's tokenizer in `folder`: an end token behind a prompt, cut to `max_tokens` with it,
    /// padded.
    ///
    /// # Errors
    /// Files that are missing or cannot be used.
    pub fn t5(folder: &Path, max_tokens: usize) -> Result<Self, ModelError> {
        Self::new(Class::T5, folder, max_tokens)
    }

    /// BERT's tokenizer in `folder`: `[CLS]` and `[SEP]` around a prompt, cut to `max_tokens` with
    /// them, padded.
    ///
    /// # Errors
    /// Files that are missing or cannot be used.
    pub fn bert(folder: &Path, max_tokens: usize) -> Result<Self, ModelError> {
        Self::new(Class::Bert, folder, max_tokens)
    }

    /// Qwen3's tokenizer in `folder`: a prompt becomes a user's message that the model is about to
    /// answer, thinking, cut to `max_tokens` and padded.
    ///
    /// # Errors
    /// Files that are missing or cannot be used.
    pub fn qwen3(folder: &Path, max_tokens: usize) -> Result<Self, ModelError> {
        Self::new(Class::Qwen2, folder, max_tokens)
    }

    /// The most tokens of a prompt that the tokenizer in `folder` asks for (`model_max_length`), if
    /// it does.
    ///
    /// # Errors
    /// An unreadable `tokenizer_config.json`, or a length below 3.
    pub fn model_max_length(folder: &Path) -> Result<Option<usize>, ModelError> {
        TokenizerFiles::read(folder)?.model_max_length()
    }

    fn new(class: Class, folder: &Path, max_tokens: usize) -> Result<Self, ModelError> {
        let files = TokenizerFiles::read(folder)?;
        let (path, mut inner) = backend(class, &files)?;
        rules::apply(class, &mut inner, &files, &path)?;
        files.add_declared(&mut inner)?;
        for token in class.template_tokens() {
            if inner.token_to_id(token).is_none() {
                let reason = format!(
                    "it lacks `{token}`, a token of the chat template; \
                     copy the model's `tokenizer_config.json` or `tokenizer.json` beside it"
                );
                return Err(unusable(&path, &reason));
            }
        }
        let pad = files.pad(class);
        let Some(pad) = inner.token_to_id(&pad) else {
            let reason = format!(
                "it lacks the padding token `{pad}`; \
                 name the right one as `pad_token` in `tokenizer_config.json`"
            );
            return Err(unusable(&path, &reason));
        };
        // Named tokens become special even where they are words otherwise, as in transformers. The
        // tokenizer of CLIP's bigG pads with `!`: in a prompt it has padding's id.
        files.add_named(&mut inner, class)?;
        inner.set_encode_special_tokens(files.flag("split_special_tokens") == Some(true));
        let pads_left = inner
            .get_padding()
            .is_some_and(|padding| matches!(padding.direction, PaddingDirection::Left));
        // A chat's padding is cut off before the encoder, wherever it is.
        if class != Class::Qwen2 && files.is_left("padding_side").unwrap_or(pads_left) {
            let reason = "`padding_side` is \"left\", but only \"right\" is built";
            return Err(unusable(&files.config_path(), &reason));
        }
        let cuts_left = inner
            .get_truncation()
            .is_some_and(|cut| matches!(cut.direction, TruncationDirection::Left));
        let direction = if files.is_left("truncation_side").unwrap_or(cuts_left) {
            TruncationDirection::Left
        } else {
            TruncationDirection::Right
        };
        Self::cut(path, inner, class, max_tokens, direction, pad)
    }

    fn cut(
        path: PathBuf,
        mut inner: tokenizers::Tokenizer,
        class: Class,
        max_tokens: usize,
        direction: TruncationDirection,
        pad: u32,
    ) -> Result<Self, ModelError> {
        let truncation = TruncationParams {
            max_length: max_tokens,
            direction,
            ..TruncationParams::default()
        };
        inner
            .with_padding(None)
            .with_truncation(Some(truncation))
            .map_err(|error| unusable(&path, &error))?;
        Ok(Self {
            path,
            inner,
            class,
            max_tokens,
            pad,
            rows: i64::MAX,
        })
    }

    /// For an encoder with a table of so many rows: a prompt with a token beyond it is refused, not
    /// looked up.
    #[must_use]
    pub fn for_table(self, rows: i64) -> Self {
        Self { rows, ..self }
    }

    /// Length of every row of tokens.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Tokens of each prompt, in order.
    ///
    /// # Errors
    /// A prompt that the tokenizer refuses, or with a token that the encoder does not know.
    pub fn encode(&self, prompts: &[&str]) -> Result<Tokens, ModelError> {
        let mut ids: Vec<i64> = Vec::with_capacity(prompts.len() * self.max_tokens);
        let mut lengths = Vec::with_capacity(prompts.len());
        for (row, prompt) in (1..).zip(prompts) {
            let encoding = self
                .inner
                .encode_fast(self.class.text(prompt), true)
                .map_err(|error| unusable(&self.path, &error))?;
            ids.extend(encoding.get_ids().iter().map(|&id| i64::from(id)));
            lengths.push(encoding.len() as i64);
            ids.resize(row * self.max_tokens, i64::from(self.pad));
        }
        if let Some(&id) = ids.iter().find(|&&id| id >= self.rows) {
            return Err(self.beyond(id));
        }
        let shape = [prompts.len() as i64, self.max_tokens as i64];
        Ok(Tokens {
            ids: Tensor::from_slice(&ids).reshape(shape),
            lengths: Tensor::from_slice(&lengths),
        })
    }

    fn beyond(&self, id: i64) -> ModelError {
        let token = self.inner.id_to_token(id as u32).unwrap_or_default();
        let reason = format!(
            "a prompt holds `{token}`, token {id}, but the text encoder knows only {} tokens; \
             use the encoder that was trained with this tokenizer, or leave `{token}` out",
            self.rows
        );
        unusable(&self.path, &reason)
    }
}
