//! `dmdr bench`: figures of an update, with weights and without.

mod common;

use std::{fs, path::Path};

use common::{fail, pipeline, succeed, workspace};

/// What it writes.
fn report(directory: &Path, arguments: &[&str]) -> serde_json::Value {
    let json = tempfile::NamedTempFile::new().expect("temp file");
    let path = json.path().to_str().expect("UTF-8");
    let more = ["--updates", "1", "--json", path];
    succeed(directory, &[&["bench"], arguments, &more].concat());
    let text = fs::read_to_string(path).expect("written");
    serde_json::from_str(&text).expect("JSON")
}

fn number(report: &serde_json::Value, key: &str) -> f64 {
    report[key]
        .as_f64()
        .unwrap_or_else(|| panic!("{key} in {report}"))
}

#[test]
fn an_update_is_measured() {
    let smoke = ["configs/smoke.toml", "--set", "precision=f32"];
    let one = report(workspace(), &smoke);
    assert_eq!(one["seconds"].as_array().map(Vec::len), Some(1));
    let phases = one["phases"].as_object().expect("phases");
    for name in [
        "rollout",
        "fake score",
        "generator",
        "views",
        "decode",
        "reward",
        "backward",
        "optimiser",
    ] {
        assert!(phases.contains_key(name), "{phases:?}");
    }
    assert!(number(&one, "operations") > 1e6 && number(&one, "ceiling_per_s") > 1e6);
    // Not what kernels need for themselves.
    let ratio = number(&one, "peak_bytes") / number(&one, "forecast_bytes");
    assert!((0.8..1.25).contains(&ratio), "{ratio}");

    // Twice the batch is twice the products, at once or one after the other.
    let twice = |sets: [&str; 2]| {
        number(
            &report(workspace(), &[&smoke[..], &sets].concat()),
            "operations",
        )
    };
    let at_once = twice(["--set", "method.dmdr.batch_size=4"]) / number(&one, "operations");
    let accumulated = twice(["--set", "accumulate=2"]) / number(&one, "operations");
    assert!((at_once - 2.0).abs() < 0.02, "{at_once}");
    assert!((accumulated - 2.0).abs() < 0.02, "{accumulated}");
}

#[test]
fn a_pipeline_of_configs_alone_is_measured_with_random_weights() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let with = report(here, &["run.toml"]);
    let mut removed = 0;
    for entry in walk(here) {
        if entry
            .extension()
            .is_some_and(|ending| ending == "safetensors")
        {
            fs::remove_file(entry).expect("there");
            removed += 1;
        }
    }
    assert!(removed > 2);
    fail(here, &["bench", "run.toml"]);
    let without = report(here, &["run.toml", "--random-weights"]);
    assert_eq!(with["batch_size"], without["batch_size"]);
    // Prompts of the usual length stand for those of the file.
    assert!(number(&without, "operations") >= number(&with, "operations"));
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}
