//! Encoded prompts on disk: text encoders run once a prompt, are freed, and training never needs them.
//!
//! Content-addressed: a folder for each encoder, in it shards of prompts, each a safetensors file with a manifest that is
//! written last. A process killed in between leaves a shard without manifest, which the next one overwrites.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use dmdr_events::atomic_write;
use dmdr_models::Conditioning;
use dmdr_tensor::{Device, Kind, Tensor, read_tensor, write_as_they_are};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::TrainError;

/// The cache of one encoder.
#[derive(Debug)]
pub struct Embeddings {
    folder: PathBuf,
    /// SHA-256 of a prompt -> shard and row.
    places: BTreeMap<String, (usize, i64)>,
    shards: Vec<Shard>,
}

#[derive(Debug)]
struct Shard {
    path: PathBuf,
    sha256: String,
    /// Whether its hash has been compared, which happens on first use.
    is_checked: Cell<bool>,
}

/// What stands beside a shard.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    /// SHA-256 of the safetensors file.
    sha256: String,
    /// SHA-256 of each prompt, in row order.
    prompts: Vec<String>,
}

fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

impl Embeddings {
    /// The cache in `folder` of the encoder that `identity` describes: its rules and its weights.
    ///
    /// # Errors
    /// A folder that cannot be made, or a manifest that cannot be understood.
    pub fn open(folder: &Path, identity: &str) -> Result<Self, TrainError> {
        let folder = folder.join(&sha256(identity.as_bytes())[..16]);
        fs::create_dir_all(&folder).map_err(|error| damaged(&folder, error))?;
        let mut cache = Self {
            folder,
            places: BTreeMap::new(),
            shards: Vec::new(),
        };
        loop {
            let path = cache.manifest(cache.shards.len());
            if !path.is_file() {
                return Ok(cache);
            }
            let text = fs::read_to_string(&path).map_err(|error| damaged(&path, error))?;
            let manifest = serde_json::from_str(&text).map_err(|error| damaged(&path, error))?;
            cache.register(manifest);
        }
    }

    /// Those of `prompts` that are not there yet, each once.
    pub fn missing<'a>(&self, prompts: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let mut seen = BTreeSet::new();
        let is_new = |prompt: &&str| !self.places.contains_key(&sha256(prompt.as_bytes()));
        prompts.into_iter().filter(is_new).filter(|prompt| seen.insert(*prompt)).collect()
    }

    /// Keeps the encoding of `prompts`, one row each, in a shard of its own; tokens in `kind`, which is what the networks
    /// compute in.
    ///
    /// # Errors
    /// If the shard cannot be written.
    pub fn insert(
        &mut self,
        prompts: &[&str],
        cond: &Conditioning,
        kind: Kind,
    ) -> Result<(), TrainError> {
        let path = self.shard(self.shards.len());
        let mut tensors = BTreeMap::new();
        for row in 0..cond.batch() {
            let one = cond.narrow(row, 1);
            tensors.insert(format!("{row}.tokens"), one.tokens.to_kind(kind));
            tensors.insert(format!("{row}.pooled"), one.pooled);
        }
        write_as_they_are(&path, &tensors, &BTreeMap::new())?;
        let bytes = fs::read(&path).map_err(|error| damaged(&path, error))?;
        let manifest = Manifest {
            sha256: sha256(&bytes),
            prompts: prompts.iter().map(|prompt| sha256(prompt.as_bytes())).collect(),
        };
        let text = serde_json::to_string(&manifest).expect("strings serialise");
        atomic_write(self.manifest(self.shards.len()), text)?;
        self.register(manifest);
        Ok(())
    }

    /// The encoding of `prompts`, in order, on `device`, as f32. Rows of fewer tokens are filled up with zeros.
    ///
    /// # Errors
    /// A shard that is missing or not as it was written.
    ///
    /// # Panics
    /// If one of them was never inserted.
    pub fn get(&self, prompts: &[String], device: Device) -> Result<Conditioning, TrainError> {
        let (mut tokens, mut pooled) = (Vec::new(), Vec::new());
        for prompt in prompts {
            let (shard, row) = self.places[&sha256(prompt.as_bytes())];
            let shard = &self.shards[shard];
            shard.check()?;
            tokens.push(read_tensor(&shard.path, &format!("{row}.tokens"))?);
            pooled.push(read_tensor(&shard.path, &format!("{row}.pooled"))?);
        }
        let longest = tokens.iter().map(|row| row.size()[1]).max().unwrap_or(0);
        let fill = |row: &Tensor| row.constant_pad_nd([0, 0, 0, longest - row.size()[1]]);
        let tokens: Vec<Tensor> = tokens.iter().map(fill).collect();
        let cat = |rows: &[Tensor]| Tensor::cat(rows, 0).to_device(device).to_kind(Kind::Float);
        Ok(Conditioning {
            tokens: cat(&tokens),
            pooled: cat(&pooled),
        })
    }

    fn register(&mut self, manifest: Manifest) {
        let index = self.shards.len();
        for (row, prompt) in manifest.prompts.into_iter().enumerate() {
            self.places.insert(prompt, (index, row as i64));
        }
        self.shards.push(Shard {
            path: self.shard(index),
            sha256: manifest.sha256,
            is_checked: Cell::new(false),
        });
    }

    fn shard(&self, index: usize) -> PathBuf {
        self.folder.join(format!("{index:05}.safetensors"))
    }

    fn manifest(&self, index: usize) -> PathBuf {
        self.folder.join(format!("{index:05}.json"))
    }
}

impl Shard {
    fn check(&self) -> Result<(), TrainError> {
        if !self.is_checked.get() {
            let bytes = fs::read(&self.path).map_err(|error| damaged(&self.path, error))?;
            if sha256(&bytes) != self.sha256 {
                let reason = "it is not as it was written; remove the folder and encode again";
                return Err(damaged(&self.path, reason));
            }
            self.is_checked.set(true);
        }
        Ok(())
    }
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> TrainError {
    TrainError::Damaged {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cond(tokens: i64, offset: f64) -> Conditioning {
        let options = (Kind::Float, Device::Cpu);
        Conditioning {
            tokens: Tensor::arange(2 * tokens * 3, options).reshape([2, tokens, 3]) + offset,
            pooled: Tensor::arange(4, options).reshape([2, 2]) + offset + 1000.5,
        }
    }

    fn filled(folder: &Path) -> Embeddings {
        let mut cache = Embeddings::open(folder, "encoder").expect("opens");
        cache.insert(&["a", "b"], &cond(4, 0.0), Kind::Float).expect("written");
        cache.insert(&["c", ""], &cond(2, 100.0), Kind::Float).expect("written");
        cache
    }

    #[test]
    fn prompts_come_back_in_any_order_from_another_process() {
        let dir = tempfile::tempdir().expect("temp dir");
        filled(dir.path());
        let cache = Embeddings::open(dir.path(), "encoder").expect("opens");
        assert_eq!(cache.missing(["b", "new", "", "new"]), ["new"]);
        let got = cache.get(&["c".into(), "b".into()], Device::Cpu).expect("there");
        assert_eq!(got.tokens.size(), [2, 4, 3]);
        assert_eq!(got.tokens.narrow(0, 1, 1), cond(4, 0.0).tokens.narrow(0, 1, 1));
        assert_eq!(got.tokens.double_value(&[0, 1, 2]), 105.0);
        assert_eq!(got.tokens.double_value(&[0, 2, 0]), 0.0, "filled up");
        assert_eq!(got.pooled.double_value(&[0, 0]), 1100.5);
        let other = Embeddings::open(dir.path(), "another encoder").expect("opens");
        assert_eq!(other.missing(["a"]), ["a"]);
    }

    #[test]
    fn a_shard_without_manifest_is_written_again() {
        let dir = tempfile::tempdir().expect("temp dir");
        let cache = filled(dir.path());
        fs::remove_file(cache.manifest(1)).expect("there");
        let mut cache = Embeddings::open(dir.path(), "encoder").expect("opens");
        assert_eq!(cache.missing(["a", "c"]), ["c"]);
        cache.insert(&["c"], &cond(2, 7.0).narrow(0, 1), Kind::Float).expect("written");
        let got = cache.get(&["c".into()], Device::Cpu).expect("there");
        assert_eq!(got.tokens.double_value(&[0, 0, 0]), 7.0);
    }

    #[test]
    fn a_damaged_shard_is_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let cache = filled(dir.path());
        let shard = cache.shard(1);
        let mut bytes = fs::read(&shard).expect("there");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&shard, bytes).expect("writable");
        let cache = Embeddings::open(dir.path(), "encoder").expect("opens");
        cache.get(&["a".into()], Device::Cpu).expect("the other shard is whole");
        let error = cache.get(&["c".into()], Device::Cpu).expect_err("flipped").to_string();
        assert!(error.contains("00001.safetensors") && error.contains("not as it was written"), "{error}");
    }
}
