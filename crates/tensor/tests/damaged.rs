//! Weight files of a published model, each damaged in one way: one line that names the file and the tensor, and a network that
//! is as it was.

use std::{collections::BTreeMap, fs, path::Path};

use dmdr_tensor::{Device, Init, Kind, ParamStore, Scope, Tensor, write_tensors};
use safetensors::{Dtype, tensor::TensorView};
use tempfile::TempDir;

const NAMES: [&str; 3] = [
    "blocks.0.attn.weight",
    "blocks.1.attn.weight",
    "norm.weight",
];
const FILES: [&str; 2] = [
    "diffusion_pytorch_model-00001-of-00002.safetensors",
    "diffusion_pytorch_model-00002-of-00002.safetensors",
];

fn store() -> ParamStore {
    let store = ParamStore::frozen(Device::Cpu);
    for name in NAMES {
        let _ = Scope::root(&store, &[]).param(name, &[2, 3], Init::Ones);
    }
    store
}

/// A folder in diffusers' layout: two tensors in the first shard, one in the second.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    let value = || Tensor::full([2, 3], 0.5, (Kind::Float, Device::Cpu));
    let write = |file: &str, names: &[&str]| {
        let tensors = names.iter().map(|name| ((*name).to_owned(), value()));
        let path = dir.path().join(file);
        write_tensors(&path, &tensors.collect(), Kind::Float, &BTreeMap::new()).expect("written");
    };
    write(FILES[0], &NAMES[..2]);
    write(FILES[1], &NAMES[2..]);
    let map: BTreeMap<&str, &str> = NAMES
        .into_iter()
        .zip([FILES[0], FILES[0], FILES[1]])
        .collect();
    let index = serde_json::json!({ "metadata": { "total_size": 72 }, "weight_map": map });
    let path = dir
        .path()
        .join("diffusion_pytorch_model.safetensors.index.json");
    fs::write(path, index.to_string()).expect("written");
    dir
}

/// The message of a load that fails and changes nothing.
#[track_caller]
fn refused(folder: &Path) -> String {
    let store = store();
    let error = store.load_folder(folder).expect_err("refused").to_string();
    for name in NAMES {
        assert!(
            store.tensor(name).equal(&store.tensor(name).ones_like()),
            "half loaded"
        );
    }
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

/// The second shard with one tensor of `dtype` and `shape`.
fn second_shard(folder: &Path, dtype: Dtype, shape: &[usize], data: &[u8]) {
    let view = TensorView::new(dtype, shape.to_vec(), data).expect("fits");
    let bytes = safetensors::serialize([(NAMES[2], view)], None).expect("serialised");
    fs::write(folder.join(FILES[1]), bytes).expect("written");
}

#[test]
fn each_kind_of_damage_has_its_message() {
    assert!(store().load_folder(folder().path()).is_ok(), "whole");

    let dir = folder();
    let first = dir.path().join(FILES[0]);
    let good = fs::read(&first).expect("readable");
    let header = 8 + u64::from_le_bytes(good[..8].try_into().expect("eight")) as usize;
    for (bytes, expected) in [
        (
            good[..good.len() - 4].to_vec(),
            "cut short within tensor `blocks.1.attn.weight`",
        ),
        (
            good[..header + 4].to_vec(),
            "cut short within tensor `blocks.0.attn.weight`",
        ),
        (good[..header - 1].to_vec(), "header"),
        ([&u64::MAX.to_le_bytes()[..], &good[8..]].concat(), "header"),
        (
            b"<html>404</html>".to_vec(),
            "not a usable safetensors file",
        ),
        (Vec::new(), "empty"),
    ] {
        fs::write(&first, bytes).expect("written");
        let error = refused(dir.path()).to_lowercase();
        assert!(
            error.contains(FILES[0]) && error.contains(expected),
            "{error}"
        );
    }

    let dir = folder();
    fs::remove_file(dir.path().join(FILES[1])).expect("there");
    assert!(refused(dir.path()).contains(FILES[1]), "a missing shard");

    let dir = folder();
    for (dtype, size) in [
        (Dtype::I64, 8),
        (Dtype::F64, 8),
        (Dtype::U8, 1),
        (Dtype::F8_E4M3, 1),
    ] {
        second_shard(dir.path(), dtype, &[2, 3], &vec![0; 6 * size]);
        let error = refused(dir.path());
        assert_eq!(error.contains("quantised"), size == 1, "{error}");
        let kind = format!("{dtype:?}");
        assert!(
            [FILES[1], NAMES[2], &kind, "expected F32"]
                .iter()
                .all(|part| error.contains(part)),
            "{error}"
        );
    }
    second_shard(dir.path(), Dtype::F32, &[3, 2], &[0; 24]);
    let error = refused(dir.path());
    assert!(
        error.contains(NAMES[2]) && error.contains("[3, 2]") && error.contains("[2, 3]"),
        "{error}"
    );
    second_shard(dir.path(), Dtype::F32, &[2, 3], &[0xFF; 24]);
    let error = refused(dir.path());
    assert!(
        error.contains(FILES[1]) && error.contains("`norm.weight` has values"),
        "{error}"
    );
}

/// A flipped bit of a header is an error, or changes what is not read: the name of a tensor and the metadata are compared.
#[test]
fn no_flipped_bit_of_a_header_half_loads() {
    let dir = folder();
    let path = dir.path().join(FILES[1]);
    let good = fs::read(&path).expect("readable");
    let header = 8 + u64::from_le_bytes(good[..8].try_into().expect("eight")) as usize;
    let mut accepted = Vec::new();
    for bit in 0..8 * header {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).expect("written");
        let store = store();
        match store.load_folder(dir.path()) {
            Ok(_) => accepted.push(bit / 8),
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.contains(FILES[1]) && error.lines().count() == 1,
                    "{error}"
                );
                assert!(
                    store
                        .tensor(NAMES[0])
                        .equal(&store.tensor(NAMES[0]).ones_like())
                );
            }
        }
    }
    // Only white space that stays white space and the like: nothing that moves a value.
    assert!(
        accepted.len() * 50 < 8 * header,
        "{} of {}",
        accepted.len(),
        8 * header
    );
}
