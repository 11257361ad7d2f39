//! Weight folders as diffusers and transformers save them: one safetensors file, or shards with an index of which tensor
//! is where.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    slice,
};

use serde::Deserialize;

use crate::{
    LoadReport, ParamStore, TensorError,
    weights::{as_stored, is_pickle, read_headers},
};

/// The name diffusers gives the weights of a denoising network or an autoencoder.
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// `diffusion_pytorch_model.safetensors.index.json`.
#[derive(Deserialize)]
struct Index {
    /// Tensor name -> file name.
    weight_map: BTreeMap<String, String>,
}

impl ParamStore {
    /// Fills every parameter from a folder written by diffusers' `save_pretrained`, sharded or not, as strictly as
    /// [`Self::load`].
    ///
    /// # Errors
    /// No weights, or pickled ones; a missing shard, one that disagrees with the index; and all of [`Self::load`].
    /// Nothing is changed then.
    pub fn load_folder(&self, folder: &Path) -> Result<LoadReport, TensorError> {
        self.load_folder_of(folder, WEIGHTS, &as_stored)
    }

    /// [`Self::load_folder`] where the one file is called `weights` (transformers: `model.safetensors`), and `rename`
    /// tells from a tensor's name the parameter's. A tensor without one may be there, in any precision, and is passed
    /// over: a second name of shared weights, a constant.
    ///
    /// # Errors
    /// As for [`Self::load_folder`].
    pub fn load_folder_of(
        &self,
        folder: &Path,
        weights: &str,
        rename: &dyn Fn(&str) -> Option<String>,
    ) -> Result<LoadReport, TensorError> {
        let single = folder.join(weights);
        let index = folder.join(format!("{weights}.index.json"));
        if index.is_file() {
            self.load_files(&shards(&index, rename)?, &index, rename)
        } else if single.is_file() {
            self.load_files(slice::from_ref(&single), &single, rename)
        } else {
            Err(no_weights(folder, weights))
        }
    }
}

/// The files an index names, each checked to hold exactly the tensors the index says, of those that are read.
fn shards(
    index: &Path,
    rename: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<PathBuf>, TensorError> {
    let text = fs::read_to_string(index).map_err(|source| TensorError::Read {
        path: index.to_owned(),
        source,
    })?;
    let unusable = |reason: String| TensorError::Index {
        path: index.to_owned(),
        reason,
    };
    let parsed: Index = serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
    let mut content: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (tensor, shard) in parsed.weight_map {
        let tensors = content.entry(shard).or_default();
        tensors.extend(rename(&tensor));
    }
    content
        .into_iter()
        .map(|(shard, tensors)| {
            if Path::new(&shard).file_name() != Some(OsStr::new(&shard)) {
                return Err(unusable(format!("`{shard}` is not a plain file name")));
            }
            let path = index.with_file_name(&shard);
            if !path.is_file() {
                return Err(TensorError::MissingShard {
                    index: index.to_owned(),
                    shard,
                });
            }
            check_content(&path, index, &tensors, rename)?;
            Ok(path)
        })
        .collect()
}

fn check_content(
    shard: &Path,
    index: &Path,
    tensors: &BTreeSet<String>,
    rename: &dyn Fn(&str) -> Option<String>,
) -> Result<(), TensorError> {
    let found: BTreeSet<String> = read_headers(shard, rename)?.into_keys().collect();
    let only = |tensor: &String, place| TensorError::ShardContent {
        shard: shard.to_owned(),
        index: index.to_owned(),
        tensor: tensor.clone(),
        place,
    };
    if let Some(tensor) = tensors.difference(&found).next() {
        return Err(only(tensor, "index"));
    }
    if let Some(tensor) = found.difference(tensors).next() {
        return Err(only(tensor, "shard"));
    }
    Ok(())
}

/// A pickle in the folder explains the missing weights best.
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
    match files.iter().find(|path| is_pickle(path)) {
        Some(pickle) => TensorError::Pickle {
            path: pickle.clone(),
            target: folder.join(weights),
        },
        None => TensorError::NoWeights {
            folder: folder.to_owned(),
            expected: weights.to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};
    use tempfile::TempDir;

    use super::*;
    use crate::{Init, Scope, write_tensors};

    const FIRST: &str = "diffusion_pytorch_model-00001-of-00002.safetensors";
    const SECOND: &str = "diffusion_pytorch_model-00002-of-00002.safetensors";

    fn tensors(names: &[&str], shape: [i64; 2]) -> BTreeMap<String, Tensor> {
        let value = |name: &&str| {
            let value = Tensor::full(shape, name.len() as f64, (Kind::Float, Device::Cpu));
            ((*name).to_owned(), value)
        };
        names.iter().map(value).collect()
    }

    fn write(path: &Path, tensors: &BTreeMap<String, Tensor>) {
        write_tensors(path, tensors, Kind::Float, &BTreeMap::new()).expect("writable");
    }

    fn index(folder: &Path, entries: &[(&str, &str)]) {
        let map: BTreeMap<_, _> = entries.iter().copied().collect();
        let text = serde_json::json!({ "metadata": { "total_size": 72 }, "weight_map": map });
        let path = folder.join(format!("{WEIGHTS}.index.json"));
        fs::write(path, text.to_string()).expect("writable");
    }

    /// `a` and `bb` in the first shard, `ccc` in the second.
    fn sharded() -> TempDir {
        let dir = tempfile::tempdir().expect("temp dir");
        write(&dir.path().join(FIRST), &tensors(&["a", "bb"], [2, 3]));
        write(&dir.path().join(SECOND), &tensors(&["ccc"], [2, 3]));
        index(dir.path(), &[("a", FIRST), ("bb", FIRST), ("ccc", SECOND)]);
        dir
    }

    fn store() -> ParamStore {
        let store = ParamStore::trainable(Device::Cpu, 1);
        for name in ["a", "bb", "ccc"] {
            let _ = Scope::root(&store, &[]).param(name, &[2, 3], Init::Zeros);
        }
        store
    }

    /// The message of a load that fails, which has changed nothing.
    fn refused(folder: &Path) -> String {
        let store = store();
        let error = store.load_folder(folder).expect_err("refused").to_string();
        let sum = |tensor: &Tensor| tensor.abs().sum(Kind::Float).double_value(&[]);
        assert!(
            store
                .group()
                .tensors
                .iter()
                .all(|tensor| sum(tensor) == 0.0)
        );
        assert_eq!(error.lines().count(), 1, "{error}");
        error
    }

    #[test]
    fn one_file_or_shards() {
        let dir = sharded();
        let check = |folder: &Path| {
            let store = store();
            store.load_folder(folder).expect("fits");
            for name in ["a", "bb", "ccc"] {
                let expected = Tensor::full([2, 3], name.len() as f64, (Kind::Float, Device::Cpu));
                assert!(store.tensor(name).equal(&expected), "{name}");
            }
        };
        check(dir.path());
        let dir = tempfile::tempdir().expect("temp dir");
        write(
            &dir.path().join(WEIGHTS),
            &tensors(&["a", "bb", "ccc"], [2, 3]),
        );
        check(dir.path());
    }

    #[test]
    fn other_names_and_tensors_that_are_passed_over() {
        let rename = |name: &str| {
            (name != "tied").then(|| name.strip_prefix("net.").unwrap_or(name).to_owned())
        };
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("model.safetensors");
        write(&path, &tensors(&["net.a", "bb", "ccc", "tied"], [2, 3]));
        let load = |rename| store().load_folder_of(dir.path(), "model.safetensors", rename);
        load(&rename).expect("fits");
        let error = load(&as_stored).expect_err("strict").to_string();
        assert!(error.contains("2 unexpected (net.a, tied ..)"), "{error}");

        let dir = sharded();
        write(&dir.path().join(SECOND), &tensors(&["ccc", "tied"], [2, 3]));
        let entries = [
            ("a", FIRST),
            ("bb", FIRST),
            ("ccc", SECOND),
            ("tied", FIRST),
        ];
        index(dir.path(), &entries);
        let load = |rename| store().load_folder_of(dir.path(), WEIGHTS, rename);
        load(&rename).expect("fits");
        let error = load(&as_stored).expect_err("strict").to_string();
        assert!(error.contains("`tied` is only in the index"), "{error}");
    }

    #[test]
    fn a_missing_shard_is_named() {
        let dir = sharded();
        fs::remove_file(dir.path().join(SECOND)).expect("there");
        let error = refused(dir.path());
        assert!(
            error.contains(&format!("the shard `{SECOND}`, which is missing")),
            "{error}"
        );
    }

    #[test]
    fn shards_that_disagree_with_the_index_are_named() {
        let dir = sharded();
        index(dir.path(), &[("a", FIRST), ("bb", SECOND), ("ccc", SECOND)]);
        let error = refused(dir.path());
        assert!(
            error.contains(FIRST) && error.contains("`bb` is only in the shard"),
            "{error}"
        );
        write(&dir.path().join(FIRST), &tensors(&["a"], [2, 3]));
        let error = refused(dir.path());
        assert!(
            error.contains(SECOND) && error.contains("`bb` is only in the index"),
            "{error}"
        );
    }

    #[test]
    fn tensors_that_do_not_fit_the_network_are_named() {
        let dir = sharded();
        write(&dir.path().join(SECOND), &tensors(&["ccc"], [3, 2]));
        let error = refused(dir.path());
        let shape = "`ccc`: expected [2, 3], found [3, 2]";
        assert!(error.contains(SECOND) && error.contains(shape), "{error}");
        index(dir.path(), &[("a", FIRST), ("bb", FIRST)]);
        let error = refused(dir.path());
        assert!(
            error.contains("index.json") && error.contains("1 missing (ccc ..)"),
            "{error}"
        );
    }

    #[test]
    fn an_index_does_not_lead_out_of_its_folder() {
        let dir = sharded();
        index(dir.path(), &[("a", "../a.safetensors")]);
        let error = refused(dir.path());
        assert!(
            error.contains("`../a.safetensors` is not a plain file name"),
            "{error}"
        );
        fs::write(dir.path().join(format!("{WEIGHTS}.index.json")), "{}").expect("writable");
        assert!(refused(dir.path()).contains("weight_map"));
    }

    #[test]
    fn folders_without_weights_say_what_they_have() {
        let dir = tempfile::tempdir().expect("temp dir");
        let error = refused(dir.path());
        assert!(
            error.contains("no weights in") && error.contains(WEIGHTS),
            "{error}"
        );
        fs::write(dir.path().join("diffusion_pytorch_model.bin"), "pickle").expect("writable");
        let error = refused(dir.path());
        let command = format!(
            "`python3 tools/convert_pickle.py {0}/diffusion_pytorch_model.bin {0}/{WEIGHTS}`",
            dir.path().display()
        );
        assert!(error.contains(&command), "{error}");
        let error = store()
            .load_folder_of(dir.path(), "model.safetensors", &as_stored)
            .expect_err("no weights")
            .to_string();
        assert!(error.ends_with("/model.safetensors`"), "{error}");
        let error = refused(&dir.path().join("nowhere"));
        assert!(error.contains("nowhere"), "{error}");
    }
}
