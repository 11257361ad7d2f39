//! Which files of a folder hold the weights: one file, or an index and its shards, plain or as a variant.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{TensorError, foreign::foreign_content, weights::is_pickle};

/// Variants that are the same weights in another precision, best first. Any other, such as `non_ema`, holds other
/// weights, so it is never taken unasked.
const PRECISIONS: [&str; 3] = ["fp32", "fp16", "bf16"];

/// Where the weights of a folder are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightFiles {
    /// The one file, or the index.
    pub(crate) entry: PathBuf,
    is_index: bool,
    variant: Option<&'static str>,
}

/// `diffusion_pytorch_model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    /// Tensor name -> file name.
    weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// The weights in `folder` whose one file is called `weights`: with an index, alone, or as a variant of another
    /// precision, as diffusers and transformers name it (`model.fp16.safetensors`).
    ///
    /// # Errors
    /// A folder that cannot be read, or holds no such weights.
    pub fn of(folder: &Path, weights: &str) -> Result<Self, TensorError> {
        let stem = weights.trim_end_matches(".safetensors");
        let plain = [
            (format!("{weights}.index.json"), true),
            (weights.to_owned(), false),
        ];
        let plain = plain.map(|(name, is_index)| (name, is_index, None));
        let variants = PRECISIONS.into_iter().flat_map(|variant| {
            [
                (format!("{weights}.index.{variant}.json"), true),
                (format!("{weights}.{variant}.index.json"), true), // of older versions
                (format!("{stem}.{variant}.safetensors"), false),
            ]
            .map(|(name, is_index)| (name, is_index, Some(variant)))
        });
        for (name, is_index, variant) in plain.into_iter().chain(variants) {
            let entry = folder.join(name);
            if entry.is_file() {
                return Ok(Self {
                    entry,
                    is_index,
                    variant,
                });
            }
        }
        Err(no_weights(folder, weights))
    }

    /// The file, if there is a lower precision in it than the plain name promises.
    pub fn rounded(&self) -> Option<&Path> {
        let is_rounded = self.variant.is_some_and(|variant| variant != "fp32");
        is_rounded.then_some(self.entry.as_path())
    }

    /// Shards by name, each with the tensors that the index says it has; none if there is no index.
    ///
    /// # Errors
    /// An index that cannot be used.
    pub(crate) fn shards(&self) -> Result<Option<BTreeMap<String, BTreeSet<String>>>, TensorError> {
        if !self.is_index {
            return Ok(None);
        }
        let bytes = fs::read(&self.entry).map_err(|source| TensorError::Read {
            path: self.entry.clone(),
            source,
        })?;
        if let Some(reason) = foreign_content(&bytes) {
            return Err(self.unusable(reason.to_owned()));
        }
        let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
        let parsed: Index =
            serde_json::from_slice(text).map_err(|error| self.unusable(error.to_string()))?;
        let mut content: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (tensor, shard) in parsed.weight_map {
            if Path::new(&shard).file_name() != Some(OsStr::new(&shard)) {
                return Err(self.unusable(format!("`{shard}` is not a plain file name")));
            }
            content.entry(shard).or_default().insert(tensor);
        }
        Ok(Some(content))
    }

    /// Names of all files: the one, or the index and its shards.
    ///
    /// # Errors
    /// An index that cannot be used.
    pub fn names(&self) -> Result<BTreeSet<String>, TensorError> {
        let entry = self.entry.file_name().unwrap_or_default();
        let mut names = BTreeSet::from([entry.to_string_lossy().into_owned()]);
        names.extend(self.shards()?.unwrap_or_default().into_keys());
        Ok(names)
    }

    fn unusable(&self, reason: String) -> TensorError {
        TensorError::Index {
            path: self.entry.clone(),
            reason,
        }
    }
}

/// A pickle in the folder explains the missing weights best, then what else could be meant.
fn no_weights(folder: &Path, weights: &str) -> TensorError {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(source) => {
            return TensorError::Read {
                path: folder.to_owned(),
                source,
            };
        }
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let name_of = |path: &PathBuf| path.file_name().unwrap_or_default().display().to_string();
    let is_hidden = |path: &&PathBuf| name_of(path).starts_with('.');
    files.retain(|path| !is_hidden(&path));
    let mut others = files.iter().filter(|path| {
        let kinds = ["safetensors", "gguf", "msgpack", "onnx"];
        let kind = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        kinds.contains(&kind)
    });
    match (others.next(), files.iter().find(|path| is_pickle(path))) {
        (None, Some(pickle)) => TensorError::Pickle {
            path: pickle.clone(),
            target: folder.join(weights),
        },
        (other, _) => TensorError::NoWeights {
            folder: folder.to_owned(),
            expected: weights.to_owned(),
            found: other.map_or(String::new(), |path| instead(&name_of(path), weights)),
        },
    }
}

/// What can be said of the file `name` that is there instead of `weights`.
fn instead(name: &str, weights: &str) -> String {
    if !name.ends_with(".safetensors") {
        return format!("; `{name}` is there, whose format is not read");
    }
    if name.contains("-of-") {
        return format!("; the shard `{name}` is there, but no index: download it as well");
    }
    format!("; `{name}` is there: if it is meant, give it the name `{weights}`")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

    /// What is found among files of these names.
    fn found(names: &[&str]) -> Result<(String, bool), String> {
        let dir = tempfile::tempdir().expect("temp dir");
        for name in names {
            fs::write(dir.path().join(name), "x").expect("writable");
        }
        let files = WeightFiles::of(dir.path(), WEIGHTS).map_err(|error| error.to_string())?;
        let name = files
            .entry
            .file_name()
            .expect("a name")
            .display()
            .to_string();
        Ok((name, files.rounded().is_some()))
    }

    #[test]
    fn the_plain_name_wins_then_the_higher_precision() {
        let stem = "diffusion_pytorch_model";
        for (names, expected, is_rounded) in [
            (
                vec![".fp16.safetensors", ".safetensors"],
                ".safetensors",
                false,
            ),
            (
                vec![".safetensors.index.json", ".safetensors"],
                ".safetensors.index.json",
                false,
            ),
            (
                vec![".non_ema.safetensors", ".fp16.safetensors"],
                ".fp16.safetensors",
                true,
            ),
            (
                vec![".bf16.safetensors", ".fp16.safetensors"],
                ".fp16.safetensors",
                true,
            ),
            (
                vec![".fp32.safetensors", ".fp16.safetensors"],
                ".fp32.safetensors",
                false,
            ),
            (
                vec![".safetensors.index.fp16.json", "x.safetensors"],
                ".safetensors.index.fp16.json",
                true,
            ),
            (
                vec![".safetensors.fp16.index.json"],
                ".safetensors.fp16.index.json",
                true,
            ),
        ] {
            let names: Vec<String> = names.iter().map(|name| format!("{stem}{name}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            assert_eq!(found(&names), Ok((format!("{stem}{expected}"), is_rounded)));
        }
    }

    #[test]
    fn what_is_there_instead_is_named() {
        let rename = format!("if it is meant, give it the name `{WEIGHTS}`");
        for (names, named) in [
            (
                &["diffusion_pytorch_model.non_ema.safetensors"][..],
                rename.as_str(),
            ),
            (
                &["sd3_medium.safetensors", "a.bin"],
                "`sd3_medium.safetensors` is there",
            ),
            (
                &["diffusion_pytorch_model-00001-of-00002.safetensors"],
                "but no index",
            ),
            (
                &["diffusion_flax_model.msgpack"],
                "`diffusion_flax_model.msgpack` is there, whose format",
            ),
            (
                &["diffusion_pytorch_model.fp16.bin", "._x.safetensors"],
                "convert_pickle.py",
            ),
        ] {
            let error = found(names).expect_err("no weights");
            assert!(error.contains(named), "{names:?}: {error}");
        }
    }
}
