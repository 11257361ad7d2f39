//! `dmdr eval table` on tiny Stable Diffusion 3: figures, resumption, refusals.

mod common;

use std::{fs, path::Path};

use common::{fail, pipeline, succeed};
use serde_json::Value;
use tempfile::TempDir;

const TABLE: &str = r#"
name = "tiny-table"
precision = "f32"
seeds = [0, 1]
batch_size = 2
[prompts]
file = "eval.jsonl"
[[models]]
name = "teacher"
run = "runs/tiny"
who = "teacher"
[[models]]
name = "student"
run = "runs/tiny"
who = "student"
[[metrics]]
name = "CLIP"
model.clip = { checkpoint = "openai_l14", weights = "base/clip", tokenizer = "base/clip-tokenizer" }
[[metrics]]
model.pick_score = { weights = "base/clip", tokenizer = "base/clip-tokenizer" }
"#;

fn place() -> TempDir {
    let dir = pipeline::tiny_run();
    let prompts = ["a red cat", "two boats", "a ball left of a box"];
    let rows = prompts.map(|prompt| format!("{{\"prompt\": \"{prompt}\"}}\n"));
    fs::write(dir.path().join("eval.jsonl"), rows.concat()).expect("writable");
    fs::write(dir.path().join("table.toml"), TABLE).expect("writable");
    dir
}

const MEASURE: [&str; 4] = ["eval", "table", "--config", "table.toml"];

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("written")).expect("JSON")
}

#[test]
fn a_table_is_the_mean_of_its_scores_and_goes_on_where_it_stopped() {
    let dir = place();
    let here = dir.path();
    succeed(here, &["train", "run.toml"]);
    succeed(here, &MEASURE);
    let folder = here.join("runs/tables/tiny-table");
    let table = json(&folder.join("table.json"));
    assert_eq!(table["census"]["kept"], 3);
    let rows = table["table"]["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0]["num_evaluations"], 4, "two steps, guided");
    assert_eq!(rows[1]["num_evaluations"], 2);
    let scores = |model: usize| -> Vec<f64> {
        let kept = json(&folder.join(format!("scores/{model}.json")));
        let column = kept["rated"]["scores"]["CLIP"].as_array().expect("scores");
        column
            .iter()
            .map(|score| score.as_f64().expect("a number"))
            .collect()
    };
    let (teacher, student) = (scores(0), scores(1));
    assert_eq!(
        (teacher.len(), student.len()),
        (6, 6),
        "three prompts, two seeds"
    );
    assert_ne!(teacher[..3], teacher[3..], "seeds differ");
    let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
    let close = |found: &Value, expected: f64| {
        let found = found.as_f64().expect("a number");
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    };
    close(&rows[0]["means"]["CLIP"]["mean"], mean(&teacher));
    close(
        &rows[1]["differences"]["CLIP"]["mean"],
        mean(&student) - mean(&teacher),
    );
    let sha = table["metrics"][1]["files"][0]["sha256"]
        .as_str()
        .expect("a hash");
    assert_eq!(sha.len(), 64);
    let page = fs::read_to_string(folder.join("table.md")).expect("written");
    for part in ["| student - teacher |", "pick_score", "(3 rows, 3 kept)"] {
        assert!(page.contains(part), "{page}");
    }

    // The teacher is there already, the student is not: only it is drawn, and comes out the same.
    let first = folder.join("scores/0.json");
    let before = fs::metadata(&first)
        .and_then(|meta| meta.modified())
        .expect("there");
    fs::remove_file(folder.join("scores/1.json")).expect("there");
    succeed(here, &MEASURE);
    let after = fs::metadata(&first)
        .and_then(|meta| meta.modified())
        .expect("there");
    assert_eq!(before, after);
    assert_eq!(
        json(&folder.join("table.json"))["table"]["rows"][1]["means"],
        rows[1]["means"]
    );

    // Other prompts are another table, and a list of files is one.
    fs::write(
        here.join("more.jsonl"),
        "{\"prompt\": \"a cow\"}\n{\"prompt\": \"A cow\"}\n",
    )
    .expect("writable");
    let several = "prompts.file=[\"eval.jsonl\", \"more.jsonl\"]";
    let sets = ["--set", several, "--set", "prompts.deduplicate=true"];
    succeed(here, &[&MEASURE[..], &sets].concat());
    assert_eq!(scores(0).len(), 8);
    assert_eq!(
        json(&folder.join("table.json"))["prompts"][1]["path"],
        "more.jsonl"
    );
    succeed(
        here,
        &[&MEASURE[..], &["--set", "prompts.count=2"]].concat(),
    );
    assert_eq!(scores(0).len(), 4);
    assert_eq!(scores(0)[..2], teacher[..2]);
}

#[test]
fn what_is_wrong_is_named_before_any_work() {
    let dir = place();
    let here = dir.path();
    let error = fail(here, &MEASURE);
    assert!(
        error.contains("models.0.run") && error.contains("runs/tiny"),
        "{error}"
    );
    let error = fail(
        here,
        &[&MEASURE[..], &["--set", "models.1.name=teacher"]].concat(),
    );
    assert!(
        error.contains("models.1.name") && error.contains("of its own"),
        "{error}"
    );
    let error = fail(
        here,
        &[&MEASURE[..], &["--set", "metrics.1.model=judge"]].concat(),
    );
    assert!(
        error.contains("metrics.1.model") && error.contains("emoji"),
        "{error}"
    );
    let error = fail(here, &["train", "table.toml"]);
    assert!(error.contains("dmdr eval table --config"), "{error}");
    assert!(!here.join("runs").exists(), "nothing is left behind");
}
