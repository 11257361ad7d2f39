//! Encoded prompts on disk: each prompt is encoded once, after which the text encoders need no
//! memory.
//!
//! A cache is a folder named by a hash of the encoders' files and the rule that combines them, so
//! that other weights or another rule never answer. In it lies one safetensors file for each batch
//! that was inserted, named by the hash of its content; its metadata list the prompts. Files appear
//! by rename after they are on disk: a process killed at any moment leaves whole batches and at
//! most a temporary file that nobody reads. Memory holds a hash of each prompt, not its text.
//!
//! What a pipeline is guided away from (the null) lies beside the prompts. In the list of a file it
//! is JSON's `null`, where prompts are text, so that no prompt can have its place.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use dmdr_events::atomic_write;
use dmdr_tensor::{
    Device, Kind, Tensor, TensorError, read_metadata, read_tensors_where, safetensors_bytes,
};
use sha2::{Digest, Sha256};

use super::{
    TextEncoder,
    fingerprint::fingerprint,
    folder::{at, files},
};
use crate::{Conditioning, ModelError};

/// Counts up when the same files and the same rule encode a prompt otherwise than before, or a file
/// means something else. 2: the null is none of the prompts; all files of a tokenizer count.
const VERSION: u32 = 2;

/// An open cache. Several processes may fill one folder at once; each sees what was there when it
/// opened it, and what it inserted itself.
#[derive(Debug)]
pub struct EmbeddingCache {
    folder: PathBuf,
    kind: Kind,
    shards: Vec<Shard>,
    places: BTreeMap<Key, Place>,
    null: Option<Place>,
    /// Shards whose content was found to agree with their name.
    checked: RefCell<BTreeSet<usize>>,
}

/// Half of a prompt's SHA-256: among a billion prompts a chance meeting has probability below
/// 1e-20.
type Key = [u8; 16];

fn key(prompt: &str) -> Key {
    let digest: [u8; 32] = Sha256::digest(prompt).into();
    std::array::from_fn(|index| digest[index])
}

/// Where a prompt's encoding is; 32 bits, since there is one for every prompt.
#[derive(Debug, Clone, Copy)]
struct Place {
    shard: u32,
    row: u32,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    /// Tokens of every row; zeros at its end are not stored.
    length: i64,
}

impl EmbeddingCache {
    /// The cache below `root` of the text encoders in a pipeline's folder, combined by `rule`,
    /// whose encodings are stored as `kind` (f32, or bf16 at half the size). Reads all weights of
    /// the encoders once, for their hash.
    ///
    /// # Errors
    /// Folders that cannot be read or made; a file of the cache that is broken.
    pub fn open(root: &Path, pipeline: &Path, rule: &str, kind: Kind) -> Result<Self, ModelError> {
        let name = fingerprint(pipeline, &format!("{VERSION}, {rule}, {kind:?}"))?;
        let folder = root.join(name);
        let mut cache = Self {
            folder,
            kind,
            shards: Vec::new(),
            places: BTreeMap::new(),
            null: None,
            checked: RefCell::default(),
        };
        let found = if cache.folder.is_dir() {
            files(&cache.folder)?
        } else {
            Vec::new() // made with the first shard
        };
        for path in found {
            if path.extension().is_some_and(|ext| ext == "safetensors") {
                let (length, prompts) = read_header(&path)?;
                cache.add(Shard { path, length }, &prompts);
            }
        }
        Ok(cache)
    }

    /// Whether the null is encoded.
    pub fn contains_null(&self) -> bool {
        self.null.is_some()
    }

    /// Whether `prompt` is encoded.
    pub fn contains(&self, prompt: &str) -> bool {
        self.places.contains_key(&key(prompt))
    }

    /// Stores the rows of `cond`, which encode `prompts`, but those that are there already; on disk
    /// when it returns.
    ///
    /// # Errors
    /// If the file cannot be written.
    ///
    /// # Panics
    /// If there are not as many rows as prompts.
    pub fn insert_batch(
        &mut self,
        prompts: &[&str],
        cond: &Conditioning,
    ) -> Result<(), ModelError> {
        assert_eq!(cond.batch(), prompts.len() as i64, "a row for each prompt");
        let mut seen = BTreeSet::new();
        let (mut rows, mut new) = (Vec::new(), Vec::new());
        for (row, &prompt) in (0..).zip(prompts) {
            if !self.contains(prompt) && seen.insert(prompt) {
                rows.push(row);
                new.push(Some(prompt));
            }
        }
        self.write(&rows, &new, cond)
    }

    /// Stores `cond`, one row, as the null, if there is none yet; on disk when it returns.
    ///
    /// # Errors
    /// If the file cannot be written.
    ///
    /// # Panics
    /// If there are several rows.
    pub fn insert_null(&mut self, cond: &Conditioning) -> Result<(), ModelError> {
        assert_eq!(cond.batch(), 1, "one row");
        if self.contains_null() {
            return Ok(());
        }
        self.write(&[0], &[None], cond)
    }

    /// Writes a shard of `rows` of `cond`, which encode `prompts`.
    fn write(
        &mut self,
        rows: &[i64],
        prompts: &[Option<&str>],
        cond: &Conditioning,
    ) -> Result<(), ModelError> {
        if prompts.is_empty() {
            return Ok(());
        }
        let mut tensors = BTreeMap::new();
        for (place, &row) in rows.iter().enumerate() {
            let tokens = without_trailing_zeros(&cond.tokens.select(0, row));
            tensors.insert(format!("tokens.{place}"), tokens);
            tensors.insert(format!("pooled.{place}"), cond.pooled.select(0, row));
        }
        fs::create_dir_all(&self.folder).map_err(at(&self.folder))?;
        let length = cond.tokens.size()[1];
        let list = serde_json::to_string(prompts).expect("strings serialise");
        let metadata = [("prompts", list), ("length", length.to_string())];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).into();
        let bytes = safetensors_bytes(&tensors, self.kind, &metadata);
        let path = self
            .folder
            .join(format!("{:x}.safetensors", Sha256::digest(&bytes)));
        atomic_write(&path, &bytes).map_err(TensorError::from)?;
        self.add(Shard { path, length }, prompts);
        Ok(())
    }

    /// Encodes those of `prompts` that are not there, `batch` at a time; no more than these are
    /// held. Interrupted, it goes on where it was.
    ///
    /// # Errors
    /// As for an item, [`TextEncoder::encode`] and [`Self::insert_batch`].
    pub fn fill<E: From<ModelError>>(
        &mut self,
        encoder: &dyn TextEncoder,
        prompts: impl IntoIterator<Item = Result<String, E>>,
        batch: usize,
    ) -> Result<(), E> {
        let mut missing: Vec<String> = Vec::with_capacity(batch);
        for prompt in prompts {
            let prompt = prompt?;
            if self.contains(&prompt) || missing.contains(&prompt) {
                continue;
            }
            missing.push(prompt);
            if missing.len() == batch {
                self.encode(encoder, &missing)?;
                missing.clear();
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        Ok(self.encode(encoder, &missing)?)
    }

    fn encode(&mut self, encoder: &dyn TextEncoder, prompts: &[String]) -> Result<(), ModelError> {
        let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
        self.insert_batch(&prompts, &encoder.encode(&prompts)?)
    }

    /// What was inserted for `prompts`, a row each, in f32 on `device`; all are as long as the
    /// longest of their batches. A file is checked when it is first used.
    ///
    /// # Errors
    /// A prompt that is not there; a file that is broken.
    pub fn get(&self, prompts: &[&str], device: Device) -> Result<Conditioning, ModelError> {
        let places: Result<Vec<Place>, ModelError> = prompts
            .iter()
            .map(|prompt| {
                let place = self.places.get(&key(prompt)).copied();
                place.ok_or_else(|| self.lacks(&format!("the prompt `{prompt}`")))
            })
            .collect();
        self.rows(&places?, device)
    }

    /// [`Self::get`] for the null, one row.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn null(&self, device: Device) -> Result<Conditioning, ModelError> {
        let place = self.null.ok_or_else(|| self.lacks("the null"))?;
        self.rows(&[place], device)
    }

    fn lacks(&self, what: &str) -> ModelError {
        ModelError::Cache {
            path: self.folder.clone(),
            reason: format!("{what} was never encoded"),
        }
    }

    fn rows(&self, rows: &[Place], device: Device) -> Result<Conditioning, ModelError> {
        let mut wanted: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
        let mut places = Vec::with_capacity(rows.len());
        for &Place { shard, row } in rows {
            let shard = shard as usize;
            let names = [format!("tokens.{row}"), format!("pooled.{row}")];
            wanted.entry(shard).or_default().extend(names.clone());
            places.push((shard, names));
        }
        let mut found = BTreeMap::new();
        for (shard, names) in &wanted {
            self.check(*shard)?;
            let path = &self.shards[*shard].path;
            found.insert(
                *shard,
                read_tensors_where(path, |name| names.contains(name))?,
            );
        }
        let (mut tokens, mut pooled) = (Vec::new(), Vec::new());
        let longest = wanted.keys().map(|shard| self.shards[*shard].length).max();
        for (shard, [tokens_name, pooled_name]) in &places {
            let row = &found[shard][tokens_name];
            let missing = longest.unwrap_or(0) - row.size()[0];
            tokens.push(row.constant_pad_nd([0, 0, 0, missing]));
            pooled.push(found[shard][pooled_name].shallow_clone());
        }
        let stack = |rows: &[Tensor]| {
            Tensor::stack(rows, 0)
                .to_kind(Kind::Float)
                .to_device(device)
        };
        Ok(Conditioning {
            tokens: stack(&tokens),
            pooled: stack(&pooled),
        })
    }

    fn add(&mut self, shard: Shard, prompts: &[Option<impl AsRef<str>>]) {
        let place = self.shards.len() as u32;
        for (row, prompt) in (0..).zip(prompts) {
            let place = Place { shard: place, row };
            match prompt {
                Some(prompt) => _ = self.places.insert(key(prompt.as_ref()), place),
                None => self.null = Some(place),
            }
        }
        self.shards.push(shard);
    }

    fn check(&self, shard: usize) -> Result<(), ModelError> {
        if self.checked.borrow().contains(&shard) {
            return Ok(());
        }
        let path = &self.shards[shard].path;
        let mut digest = Sha256::new();
        let mut file = File::open(path).map_err(at(path))?;
        io::copy(&mut file, &mut digest).map_err(at(path))?;
        if path
            .file_stem()
            .is_none_or(|stem| *stem != *format!("{:x}", digest.finalize()))
        {
            return Err(broken(path, "its content is not what was written"));
        }
        self.checked.borrow_mut().insert(shard);
        Ok(())
    }
}

/// Length of all rows, and the prompts of a shard; none is the null.
fn read_header(path: &Path) -> Result<(i64, Vec<Option<String>>), ModelError> {
    let metadata = read_metadata(path).map_err(|error| broken(path, &error.to_string()))?;
    let length = metadata.get("length").and_then(|text| text.parse().ok());
    let prompts = metadata.get("prompts");
    let prompts = prompts.and_then(|text| serde_json::from_str(text).ok());
    length
        .zip(prompts)
        .ok_or_else(|| broken(path, "it does not say what it holds"))
}

/// `tokens [L, D]` up to the last row that is not all zeros.
fn without_trailing_zeros(tokens: &Tensor) -> Tensor {
    let is_used = tokens.ne(0.0).any_dim(1, false);
    let places = is_used.nonzero();
    let num = if places.numel() == 0 {
        0
    } else {
        places.max().int64_value(&[]) + 1
    };
    tokens.narrow(0, 0, num)
}

fn broken(path: &Path, reason: &str) -> ModelError {
    ModelError::Cache {
        path: path.to_owned(),
        reason: format!("broken: {reason}; delete the file, and its prompts are encoded again"),
    }
}
