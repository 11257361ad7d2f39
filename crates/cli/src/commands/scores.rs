//! `scores.json` beside a benchmark's images: the figures, and what they are of.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use dmdr_events::{InputFile, atomic_write};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::draw::DrawnBy;
use dmdr_console::environment;

/// A file or folder with its hash.
pub(super) fn input(path: &Path) -> Result<InputFile> {
    Ok(InputFile::read(path)?)
}

/// SHA-256 of a file, in hexadecimal digits.
pub(super) fn sha256(path: &Path) -> Result<String> {
    Ok(input(path)?.sha256)
}

/// An ONNX file with the hash of what it consists of: with weights in files of their own beside it, as `model.onnx.data` or
/// `model.onnx_data_1`, that of all their names and hashes.
pub(super) fn onnx(path: &Path) -> Result<InputFile> {
    let mut model = input(path)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder.unwrap_or(Path::new(".")))? {
        let other = entry?.file_name().to_string_lossy().into_owned();
        let rest = other.strip_prefix(name.as_ref()).unwrap_or_default();
        if rest.starts_with(['.', '_']) && rest[1..].starts_with("data") {
            parts.push(other);
        }
    }
    if parts.is_empty() {
        return Ok(model);
    }
    parts.sort();
    let mut hasher = Sha256::new();
    hasher.update(format!("{name} {}\n", model.sha256));
    for part in parts {
        hasher.update(format!("{part} {}\n", sha256(&path.with_file_name(&part))?));
    }
    model.sha256 = format!("{:x}", hasher.finalize());
    Ok(model)
}

/// How many pictures there are, and the SHA-256 of their names and hashes.
pub(super) fn pictures(images: &Path, names: &[String]) -> Result<Value> {
    let mut hasher = Sha256::new();
    for name in names {
        hasher.update(format!("{name} {}\n", sha256(&images.join(name))?));
    }
    Ok(json!({ "count": names.len(), "sha256": format!("{:x}", hasher.finalize()) }))
}

/// Writes `scores` with what drew the images, if `dmdr` did, and the program and machine that scored them, on `device`. Returns
/// the file.
pub(super) fn write(images: &Path, device: &str, scores: &Value) -> Result<PathBuf> {
    let mut scores = scores.clone();
    scores["drawn_by"] = serde_json::to_value(DrawnBy::read(images)?)?;
    scores["environment"] = serde_json::to_value(environment::detect(device))?;
    let path = path(images);
    atomic_write(&path, serde_json::to_vec_pretty(&scores)?)?;
    Ok(path)
}

fn path(images: &Path) -> PathBuf {
    images.join("scores.json")
}

/// Who gave `answers`, as the last `scores.json` tells, where they are the same.
pub(super) fn judge_before(images: &Path, answers: &InputFile) -> Value {
    let before = fs::read(path(images)).ok();
    let before = before.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let same = before.filter(|scores| scores["answers"]["sha256"] == answers.sha256);
    same.map_or(Value::Null, |scores| scores["judge"].clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_in_files_of_their_own_are_part_of_a_model() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let model = folder.path().join("model.onnx");
        let write =
            |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("writable");
        write("model.onnx", "graph");
        let alone = onnx(&model).expect("there").sha256;
        assert_eq!(alone, sha256(&model).expect("there"));
        write("model.onnx.md", "words");
        write("other.onnx.data", "weights");
        assert_eq!(onnx(&model).expect("there").sha256, alone);
        for name in ["model.onnx.data", "model.onnx_data", "model.onnx_data_1"] {
            write(name, "weights");
            let whole = onnx(&model).expect("there").sha256;
            write(name, "other weights");
            assert!(
                ![&alone, &whole].contains(&&onnx(&model).expect("there").sha256),
                "{name}"
            );
        }
    }
}
