//! `scores.json` beside a benchmark's images: the figures, and what they are of.

use std::path::{Path, PathBuf};

use anyhow::Result;
use dmdr_events::{InputFile, atomic_write};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    args::{DrawArgs, DrawerArg},
    environment,
};

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

/// Writes `scores` with the run that drew the images, if it is named, and the program and machine that scored them, on
/// `device`. Returns the file.
pub(super) fn write(args: &DrawArgs, device: &str, scores: &Value) -> Result<PathBuf> {
    let run = match &args.run {
        None => Value::Null,
        Some(run) => json!({
            "path": run,
            "who": match args.who {
                DrawerArg::Teacher => "teacher",
                DrawerArg::Student => "student",
            },
            "seed": args.seed,
            "config": input(&run.join("config.toml"))?,
            "student": input(&run.join("student.safetensors"))?,
        }),
    };
    let mut scores = scores.clone();
    scores["run"] = run;
    scores["environment"] = serde_json::to_value(environment::detect(device))?;
    let path = args.images.join("scores.json");
    atomic_write(&path, serde_json::to_vec_pretty(&scores)?)?;
    Ok(path)
}
