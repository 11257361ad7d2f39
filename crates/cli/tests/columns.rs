//! `dmdr eval table`: every kind of column, what its numbers were computed with, and what is refused.

mod common;

use std::{fs, path::Path};

use common::{
    fail, pipeline,
    server::{Answer, serve},
    succeed,
};
use dmdr_image::Image;
use serde_json::Value;
use tempfile::TempDir;

const TABLE: &str = r#"
name = "tiny"
precision = "f32"
seeds = [0, 1]
batch_size = 2
detectors = ["saturation", "high_frequency"]
[prompts]
file = "eval.txt"
[[models]]
name = "teacher"
run = "runs/tiny"
who = "teacher"
[[models]]
name = "student"
run = "runs/tiny"
who = "student"
[[metrics]]
model.clip = { checkpoint = "openai_b32", weights = "base/clip", tokenizer = "base/clip-tokenizer" }
[[metrics]]
model.hps = { weights = "base/clip", tokenizer = "base/clip-tokenizer" }
[[metrics]]
model.image_reward = { weights = "base/image-reward.safetensors", tokenizer = "base/bert-tokenizer" }
[[metrics]]
model.aesthetic = { tower = "base/clip", head = "base/aesthetic.safetensors" }
[diversity]
trunk = "alex"
features = "base/alexnet.safetensors"
linear = "base/alex.safetensors"
size = 64
[fidelity]
reference = "true"
encoder.inception.weights = "base/inception.safetensors"
"#;
const CLIP: &str = r#"encoder.clip = { checkpoint = "openai_b32", tower = "base/clip" }"#;
const DINO: &str = r#"encoder.dino.tower = "base/dino.safetensors""#;

const MEASURE: [&str; 4] = ["eval", "table", "--config", "table.toml"];

/// A run, three prompts, five pictures of two sizes, and networks for every column.
fn place() -> TempDir {
    let dir = pipeline::tiny_run();
    let (here, base) = (dir.path(), dir.path().join("base"));
    pipeline::ratings(&base);
    pipeline::lpips(&base);
    pipeline::inception(&base);
    pipeline::dino(&base);
    fs::write(here.join("eval.txt"), "a red cat\ntwo boats\na ball\n").expect("writable");
    fs::create_dir_all(here.join("true/more")).expect("writable");
    for (index, name) in ["a", "b", "c", "more/d", "more/e"].into_iter().enumerate() {
        let level = index as f32 / 5.0;
        let image = Image::filled(20 + index / 3, 24, [level, 1.0 - level, level * level]);
        let path = here.join(format!("true/{name}.png"));
        image.to_png(&path).expect("writable");
    }
    succeed(here, &["train", "run.toml"]);
    dir
}

fn measure(here: &Path, text: &str) -> Value {
    fs::write(here.join("table.toml"), text).expect("writable");
    succeed(here, &MEASURE);
    let table = fs::read(here.join("runs/tables/tiny/table.json")).expect("written");
    serde_json::from_slice(&table).expect("JSON")
}

#[test]
fn every_kind_of_column() {
    let dir = place();
    let here = dir.path();
    let url = serve(|request| {
        let batch: Value = serde_json::from_slice(&request.body).expect("JSON");
        let count = batch["images"].as_array().expect("images").len();
        Answer::ok(serde_json::json!({ "scores": vec![0.25; count] }).to_string())
    });
    let remote = format!("[[metrics]]\nmodel.remote = {{ url = \"{url}\" }}\n[diversity]");
    let text = TABLE.replace("[diversity]", &remote);
    let report = measure(here, &text);
    let table = &report["table"];
    let names = [
        "clip",
        "hps",
        "image_reward",
        "aesthetic",
        "remote",
        "saturation",
        "high_frequency",
        "diversity",
    ];
    assert_eq!(table["metrics"], serde_json::json!(names));
    let student = &table["rows"][1];
    let mean = |name: &str| student["means"][name]["mean"].as_f64().expect("a mean");
    assert!((mean("remote") - 0.25).abs() < 1e-9);
    // On squares both preprocessings are one, and the towers are the same.
    assert!((mean("clip") - mean("hps")).abs() < 1e-4);
    assert!((0.0..=1.0).contains(&mean("saturation")));
    assert!((0.0..=1.0).contains(&mean("high_frequency")));
    assert!(mean("diversity") > 0.0 && student["differences"]["diversity"]["low"].is_f64());
    let kept = fs::read(here.join("runs/tables/tiny/scores/1.json")).expect("kept");
    let kept: Value = serde_json::from_slice(&kept).expect("JSON");
    let count = |name: &str| kept["measured"]["scores"][name].as_array().map(Vec::len);
    assert_eq!((count("clip"), count("diversity")), (Some(6), Some(3)));

    assert_eq!(
        table["set_metrics"],
        serde_json::json!(["FID", "sFID", "precision", "recall"])
    );
    let of_set = |name: &str| student["of_set"][name].as_f64().expect("a number");
    assert!(of_set("FID") > 0.0 && of_set("sFID") > 0.0);
    assert!((0.0..=1.0).contains(&of_set("precision")) && (0.0..=1.0).contains(&of_set("recall")));

    // What everything was computed with.
    let source = |name: &str| {
        let sources = report["metrics"].as_array().expect("a list");
        let found = sources.iter().find(|source| source["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}")).clone()
    };
    let settings = |name: &str, key: &str| source(name)["settings"][key].clone();
    assert_eq!(settings("clip", "checkpoint"), "openai_b32");
    assert_eq!(settings("clip", "size"), "12");
    assert_eq!(settings("hps", "fit"), "pad");
    assert_eq!(settings("image_reward", "text_length"), "35");
    assert_eq!(settings("remote", "url"), url.as_str());
    assert_eq!(settings("diversity", "trunk"), "alex");
    assert_eq!(settings("FID, sFID, precision, recall", "pictures"), "5");
    assert_eq!(
        source("aesthetic")["files"][1]["sha256"]
            .as_str()
            .map(str::len),
        Some(64)
    );
    let page = fs::read_to_string(here.join("runs/tables/tiny/table.md")).expect("written");
    assert!(
        page.contains("recall are of all 6 images of a model as a set"),
        "{page}"
    );
    assert!(
        page.contains("checkpoint openai_b32") && page.contains(&url),
        "{page}"
    );
}

#[test]
fn the_reference_is_read_once_and_again_when_it_changes() {
    let dir = place();
    let here = dir.path();
    let inception = "encoder.inception.weights = \"base/inception.safetensors\"";
    let start = TABLE.find("[[metrics]]").expect("there");
    let end = TABLE.find("[fidelity]").expect("there");
    let only = [&TABLE[..start], &TABLE[end..]].concat();
    let with = |encoder: &str| measure(here, &only.replace(inception, encoder));
    let features = here.join("runs/tables/tiny/scores/reference.safetensors");
    let modified = || {
        fs::metadata(&features)
            .and_then(|meta| meta.modified())
            .expect("there")
    };
    let value = |report: &Value, name: &str| {
        report["table"]["rows"][0]["of_set"][name]
            .as_f64()
            .expect("a number")
    };
    let first = with(CLIP);
    let names = ["FD (clip)", "precision (clip)", "recall (clip)"];
    assert_eq!(first["table"]["set_metrics"], serde_json::json!(names));
    let before = modified();
    with(CLIP);
    assert_eq!(before, modified());
    let dino = with(DINO);
    assert!(value(&dino, "FD (dino)") > 0.0 && before != modified());
    let picture = Image::filled(20, 24, [1.0, 0.0, 0.0]);
    picture.to_png(&here.join("true/f.png")).expect("writable");
    let more = with(CLIP);
    assert!((value(&more, names[0]) - value(&first, names[0])).abs() > 1e-9);
}

#[test]
fn what_does_not_fit_is_refused_with_its_place() {
    let dir = place();
    let here = dir.path();
    let refused = |from: &str, to: &str, words: &[&str]| {
        fs::write(here.join("table.toml"), TABLE.replace(from, to)).expect("writable");
        let error = fail(here, &MEASURE);
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
    };
    refused(
        "[0, 1]",
        "[0]",
        &["diversity", "seeds", "at least two seeds"],
    );
    refused("size = 64", "size = 16", &["16", "at least 32 pixels"]);
    refused("\"saturation\", ", "\"hps\", ", &["hps"]);
    refused(
        "openai_b32",
        "laion_b32",
        &["config.json", "quick_gelu", "laion_b32", "gelu"],
    );
    let clip = CLIP.replace("openai", "laion");
    let inception = "encoder.inception.weights = \"base/inception.safetensors\"";
    refused(inception, &clip, &["config.json", "laion_b32"]);
    refused(
        "\"true\"",
        "\"true/more\"",
        &["true/more", "2 PNG or JPEG", "at least 4"],
    );
    refused(
        "base/inception",
        "base/alexnet",
        &["alexnet.safetensors", "Conv2d_1a"],
    );
    assert!(!here.join("runs/tables").exists(), "before any work");
    refused("\"saturation\"", "\"grid\"", &["`grid`", "64 x 64", "24"]);
}
