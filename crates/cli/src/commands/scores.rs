//! `scores.json` beside a benchmark's images: the figures, and what they are of.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use dmdr_console::{environment, progress::say};
use dmdr_eval::Measured;
use dmdr_events::{Environment, EvalReport, InputFile, Statistic, atomic_write};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use super::draw::DrawnBy;
use crate::args::DrawArgs;

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

/// The pictures that were scored.
#[derive(Serialize)]
pub(super) struct Pictures {
    count: usize,
    /// SHA-256 of their names and hashes.
    sha256: String,
}

impl Pictures {
    /// Those called `names` in the folder `images`.
    pub(super) fn read(images: &Path, names: &[String]) -> Result<Self> {
        let mut hasher = Sha256::new();
        for name in names {
            hasher.update(format!("{name} {}\n", sha256(&images.join(name))?));
        }
        Ok(Self {
            count: names.len(),
            sha256: format!("{:x}", hasher.finalize()),
        })
    }
}

/// `metrics` of `num_samples` images of each of a benchmark's prompts, whoever drew them.
pub(super) fn measured(
    benchmark: &str,
    num_prompts: usize,
    num_samples: usize,
    metrics: BTreeMap<String, Statistic>,
) -> Measured {
    Measured {
        split: benchmark.to_owned(),
        num_prompts,
        seeds: (0..num_samples as u64).collect(),
        num_evaluations: 0,
        guidance: f64::NAN,
        metrics,
        images_per_second: f64::NAN,
        scores: BTreeMap::new(),
    }
}

/// `scores.json`.
#[derive(Serialize)]
struct Scored<'a, F> {
    benchmark: &'a str,
    #[serde(flatten)]
    figures: &'a F,
    report: &'a EvalReport,
    drawn_by: Option<DrawnBy>,
    environment: Environment,
}

/// Writes what was `measured`, with the benchmark's own `figures`, what drew the images, if `dmdr` did, and the program
/// and machine that scored them, on `device`. The report of a run's images also goes into the run.
pub(super) fn write(
    args: &DrawArgs,
    device: &str,
    measured: &Measured,
    figures: &impl Serialize,
    quiet: bool,
) -> Result<()> {
    let environment = environment::detect(device);
    let drawn_by = DrawnBy::read(&args.images)?;
    let report = drawn_by.as_ref().and_then(|by| {
        let report = by.report(measured, &environment)?;
        Some((report, by.find_run(args.run.as_deref())))
    });
    let (report, run) = report.unwrap_or_else(|| {
        let folder = args.images.display().to_string();
        let report = measured.clone();
        (
            report.report("images", folder, BTreeMap::new(), &environment),
            None,
        )
    });
    let scored = Scored {
        benchmark: &measured.split,
        figures,
        report: &report,
        drawn_by,
        environment,
    };
    let path = path(&args.images);
    atomic_write(&path, serde_json::to_vec_pretty(&scored)?)?;
    say(
        quiet,
        &format!("scores and what they are of: {}", path.display()),
    );
    if let Some(run) = run {
        let name = format!("{}-{}", report.what, report.split);
        let path = run.write_eval(&name, &report)?;
        say(
            quiet,
            &format!("for the page of the run: {}", path.display()),
        );
    }
    Ok(())
}

fn path(images: &Path) -> PathBuf {
    images.join("scores.json")
}

/// What the last `scores.json` holds, if it can be read.
pub(super) fn before<S: DeserializeOwned>(images: &Path) -> Option<S> {
    serde_json::from_slice(&fs::read(path(images)).ok()?).ok()
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
