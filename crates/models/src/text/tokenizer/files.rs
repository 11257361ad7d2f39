//! The small files of a tokenizer's folder: `tokenizer_config.json`, `special_tokens_map.json`,
//! `added_tokens.json`, and the list `added_tokens` in `tokenizer.json`.
//!
//! Source: `_from_pretrained` and the constructor of `TokenizersBackend` in transformers 5.23.0.
//! Deviation: added tokens of all files count together; there `added_tokens_decoder`, where it is,
//! hides those of the other files.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer};

use super::{class::Class, unusable::unusable};
use crate::{ModelError, json::read_bytes as read};

const CONFIG: &str = "tokenizer_config.json";
const SPECIAL: &str = "special_tokens_map.json";
const ADDED: &str = "added_tokens.json";
const BACKEND: &str = "tokenizer.json";
const EXTRA: &str = "extra_special_tokens";
const ADDITIONAL: &str = "additional_special_tokens";
const DECODER: &str = "added_tokens_decoder";
/// `SPECIAL_TOKENS_ATTRIBUTES`, in transformers' order.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];
/// Larger lengths stand for none.
const NO_LENGTH: f64 = 1e9;
/// Start, a token of the prompt, end.
const SHORTEST: f64 = 3.0;

/// What the small files of a folder say.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    folder: PathBuf,
    /// Of `tokenizer_config.json`, with what `special_tokens_map.json` says in its place.
    config: Map<String, Value>,
    /// By id.
    declared: Vec<Declared>,
}

/// A token with an id that a file gives it.
#[derive(Debug)]
struct Declared {
    id: u32,
    token: AddedToken,
    file: &'static str,
}

/// A token with its flags, as all of the files store it.
#[derive(Deserialize)]
struct Stored {
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    normalized: Option<bool>,
    special: Option<bool>,
}

#[derive(Deserialize)]
struct StoredWithId {
    id: u32,
    #[serde(flatten)]
    token: Stored,
}

#[derive(Default, Deserialize)]
struct Backend {
    #[serde(default)]
    added_tokens: Vec<StoredWithId>,
}

impl From<Stored> for AddedToken {
    fn from(stored: Stored) -> Self {
        let special = stored.special.unwrap_or(false);
        Self {
            normalized: stored.normalized.unwrap_or(!special),
            content: stored.content,
            single_word: stored.single_word,
            lstrip: stored.lstrip,
            rstrip: stored.rstrip,
            special,
        }
    }
}

impl TokenizerFiles {
    /// All of them that are in `folder`.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub(super) fn read(folder: &Path) -> Result<Self, ModelError> {
        let mut config: Map<String, Value> = json(folder, CONFIG)?;
        let decoder: BTreeMap<u32, Stored> = match config.remove(DECODER) {
            Some(Value::Null) | None => BTreeMap::new(),
            Some(decoder) => serde_json::from_value(decoder).map_err(|error| {
                unusable(&folder.join(CONFIG), &format!("`{DECODER}`: {error}"))
            })?,
        };
        // transformers renames the list of the config, but not that of the map.
        if !config.contains_key(EXTRA)
            && let Some(tokens) = config.remove(ADDITIONAL)
        {
            config.insert(EXTRA.to_owned(), tokens);
        }
        if decoder.is_empty() {
            // transformers lets them win, but where the tokens' flags are in the config.
            config.extend(json::<Map<String, Value>>(folder, SPECIAL)?);
        }
        let mut files = Self {
            folder: folder.to_owned(),
            config,
            declared: Vec::new(),
        };
        for (id, token) in decoder {
            files.declare(id, token.into(), CONFIG);
        }
        let backend: Backend = json(folder, BACKEND)?;
        for StoredWithId { id, token } in backend.added_tokens {
            files.declare(id, token.into(), BACKEND);
        }
        let added: BTreeMap<String, u32> = json(folder, ADDED)?;
        for (content, id) in added {
            let is_special = files.is_special(&content);
            files.declare(id, AddedToken::from(content, is_special), ADDED);
        }
        files.declared.sort_by_key(|declared| declared.id);
        Ok(files)
    }

    /// The first file that tells of a token counts.
    fn declare(&mut self, id: u32, token: AddedToken, file: &'static str) {
        let known = self
            .declared
            .iter()
            .find(|known| known.token.content == token.content);
        if known.is_none_or(|known| known.id != id) {
            self.declared.push(Declared { id, token, file });
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.path(CONFIG)
    }

    /// A yes or no of `tokenizer_config.json`.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        self.config.get(name).and_then(Value::as_bool)
    }

    /// Whether a side is named, and is the left one.
    pub(super) fn is_left(&self, name: &str) -> Option<bool> {
        let side = self.config.get(name).and_then(Value::as_str);
        side.map(|side| side == "left")
    }

    /// `model_max_length`, or `max_len` of older ones.
    pub(super) fn model_max_length(&self) -> Result<Option<usize>, ModelError> {
        let named = ["model_max_length", "max_len"]
            .into_iter()
            .find_map(|name| Some((name, self.config.get(name)?.as_f64()?)));
        match named {
            Some((name, length)) if length < SHORTEST => {
                let reason = format!("`{name}` is {length}, but a prompt takes 3 tokens or more");
                Err(unusable(&self.config_path(), &reason))
            }
            Some((_, length)) if length < NO_LENGTH => Ok(Some(length as usize)),
            _ => Ok(None),
        }
    }

    /// The special token `name` as the files or `class` have it.
    pub(super) fn named(&self, class: Class, name: &str) -> Option<AddedToken> {
        let said = self.config.get(name).and_then(special);
        said.or_else(|| Some(AddedToken::from(class.default_token(name)?, true)))
    }

    /// The text of the padding token; every class has one.
    pub(super) fn pad(&self, class: Class) -> String {
        let pad = self.named(class, "pad_token");
        pad.map(|token| token.content).unwrap_or_default()
    }

    /// Adds the tokens that the files give an id.
    ///
    /// # Errors
    /// An id that does not come out.
    pub(super) fn add_declared(&self, inner: &mut Tokenizer) -> Result<(), ModelError> {
        let tokens = self.declared.iter().map(|declared| declared.token.clone());
        add(inner, tokens.collect(), &self.folder)?;
        for Declared { id, token, file } in &self.declared {
            let found = inner.token_to_id(&token.content);
            if found != Some(*id) {
                let found = found.map_or("none".to_owned(), |id| id.to_string());
                let reason = format!(
                    "it gives the token `{}` the id {id}, but the vocabulary gives it {found}; \
                     ids of added tokens follow those of the vocabulary without a gap",
                    token.content
                );
                return Err(unusable(&self.path(file), &reason));
            }
        }
        Ok(())
    }

    /// Makes special what the files or `class` name: padding, start and end, and further ones.
    /// Flags of a token that has been declared stay.
    pub(super) fn add_named(&self, inner: &mut Tokenizer, class: Class) -> Result<(), ModelError> {
        let mut named: Vec<AddedToken> = NAMED
            .iter()
            .filter_map(|name| self.named(class, name))
            .collect();
        named.extend(self.further(class, inner));
        let is_declared = |token: &AddedToken| {
            let mut declared = self.declared.iter();
            declared.any(|declared| declared.token.content == token.content)
        };
        // `Qwen2Tokenizer` adds all of them once more, without their flags.
        let plain: Vec<AddedToken> = match class {
            Class::Qwen2 => named
                .iter()
                .map(|token| AddedToken::from(token.content.clone(), true))
                .collect(),
            _ => Vec::new(),
        };
        named.retain(|token| !is_declared(token));
        named.extend(plain);
        add(inner, named, &self.folder)
    }

    /// Special tokens without a role.
    fn further(&self, class: Class, inner: &Tokenizer) -> Vec<AddedToken> {
        let mut found: Vec<AddedToken> = Vec::new();
        for name in [EXTRA, ADDITIONAL] {
            match self.config.get(name) {
                Some(Value::Array(tokens)) => found.extend(tokens.iter().filter_map(special)),
                Some(Value::Object(tokens)) => found.extend(tokens.values().filter_map(special)),
                _ => {}
            }
        }
        if class == Class::T5 && found.is_empty() {
            let count = self.config.get("extra_ids").and_then(Value::as_u64);
            let sentinels = (0..count.unwrap_or(100)).map(|index| format!("<extra_id_{index}>"));
            let known = sentinels.filter(|token| inner.token_to_id(token).is_some());
            found.extend(known.map(|token| AddedToken::from(token, true)));
        }
        for (name, value) in &self.config {
            if name.ends_with("_token") && !NAMED.contains(&name.as_str()) {
                found.extend(special(value)); // such as `image_token`
            }
        }
        found
    }

    /// Whether `added_tokens.json` means a special token.
    fn is_special(&self, content: &str) -> bool {
        let extra = self.config.get(EXTRA).and_then(Value::as_array);
        let named = NAMED.iter().filter_map(|name| self.config.get(*name));
        let mut tokens = named.chain(extra.into_iter().flatten()).filter_map(special);
        tokens.any(|token| token.content == content)
    }
}

/// A token that is text, or an object with its flags.
fn add(inner: &mut Tokenizer, tokens: Vec<AddedToken>, path: &Path) -> Result<(), ModelError> {
    let added = inner.add_tokens(tokens);
    added.map(|_| ()).map_err(|error| unusable(path, &error))
}

fn special(value: &Value) -> Option<AddedToken> {
    if let Some(content) = value.as_str() {
        return Some(AddedToken::from(content, true));
    }
    let mut stored = Stored::deserialize(value).ok()?;
    stored.special = Some(true);
    Some(stored.into())
}

/// The file `name` in `folder`, empty where it is not there.
fn json<T: DeserializeOwned + Default>(folder: &Path, name: &str) -> Result<T, ModelError> {
    let path = folder.join(name);
    if !path.is_file() {
        return Ok(T::default());
    }
    serde_json::from_slice(&read(&path)?).map_err(|error| unusable(&path, &error))
}
