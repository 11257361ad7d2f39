//! Weight folders as diffusers and transformers save them: one safetensors file, or shards with an index of which tensor
//! is where.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    slice,
};

use crate::{
    LoadReport, ParamStore, TensorError, WeightFiles, are_weights_random,
    weights::{as_stored, read_headers},
};

/// The name diffusers gives the weights of a denoising network or an autoencoder.
pub const DIFFUSERS_WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

impl ParamStore {
    /// Fills every parameter from a folder written by diffusers' `save_pretrained`, sharded or not, as strictly as
    /// [`Self::load`].
    ///
    /// # Errors
    /// No weights, or pickled ones; a missing shard, one that disagrees with the index; and all of [`Self::load`].
    /// Nothing is changed then.
    pub fn load_folder(&self, folder: &Path) -> Result<LoadReport, TensorError> {
        self.load_folder_of(folder, DIFFUSERS_WEIGHTS, &as_stored)
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
        if are_weights_random() {
            return Ok(self.draw());
        }
        let files = WeightFiles::of(folder, weights)?;
        match shards(&files, rename)? {
            Some(shards) => self.load_files(&shards, &files.entry, rename),
            None => self.load_files(slice::from_ref(&files.entry), &files.entry, rename),
        }
    }
}

/// The files an index names, each checked to hold exactly the tensors the index says, of those that are read; none where
/// there is no index.
fn shards(
    files: &WeightFiles,
    rename: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Vec<PathBuf>>, TensorError> {
    let Some(content) = files.shards()? else {
        return Ok(None);
    };
    let index = &files.entry;
    let check = |(shard, tensors): (String, BTreeSet<String>)| {
        let path = index.with_file_name(&shard);
        if !path.is_file() {
            return Err(TensorError::MissingShard {
                index: index.clone(),
                shard,
            });
        }
        let tensors = tensors.iter().filter_map(|name| rename(name)).collect();
        check_content(&path, index, &tensors, rename)?;
        Ok(path)
    };
    content
        .into_iter()
        .map(check)
        .collect::<Result<_, _>>()
        .map(Some)
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

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use tch::{Device, Kind, Tensor};
    use tempfile::TempDir;

    use super::{DIFFUSERS_WEIGHTS as WEIGHTS, *};
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

    /// As diffusers saves with `variant = "fp16"`, in shards and as one file.
    #[test]
    fn variants_are_loaded() {
        let dir = sharded();
        let variant = |name: &str| dir.path().join(name.replace("model-", "model.fp16-"));
        for name in [FIRST, SECOND] {
            fs::rename(dir.path().join(name), variant(name)).expect("there");
        }
        let index = dir.path().join(format!("{WEIGHTS}.index.json"));
        let text = fs::read_to_string(&index).expect("there");
        let text = format!("\u{FEFF}{}", text.replace("model-", "model.fp16-"));
        fs::write(dir.path().join(format!("{WEIGHTS}.index.fp16.json")), text).expect("writable");
        fs::remove_file(&index).expect("there");
        let loaded = store();
        loaded.load_folder(dir.path()).expect("fits");
        assert_eq!(loaded.tensor("ccc").int64_value(&[1, 2]), 3);

        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("diffusion_pytorch_model.fp16.safetensors");
        let all = tensors(&["a", "bb", "ccc"], [2, 3]);
        write_tensors(&path, &all, Kind::Half, &BTreeMap::new()).expect("writable");
        let loaded = store();
        let report = loaded.load_folder(dir.path()).expect("fits");
        assert_eq!(report.cast.len(), 3);
        assert_eq!(loaded.tensor("bb").int64_value(&[0, 0]), 2);
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
