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
use crate::environment;

/// A file or folder with its hash.
pub(super) fn input(path: &Path) -> Result<InputFile> {
    Ok(InputFile::read(path)?)
}

/// SHA-256 of a file, in hexadecimal digits.
pub(super) fn sha256(path: &Path) -> Result<String> {
    Ok(input(path)?.sha256)
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
