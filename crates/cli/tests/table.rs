//! `dmdr eval table` on tiny Stable Diffusion 3: figures, resumption, refusals.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{fail, pipeline, succeed};
use dmdr_tensor::{Kind, read_tensors, write_tensors};
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
        let column = kept["measured"]["scores"]["CLIP"]
            .as_array()
            .expect("scores");
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
fn what_was_measured_with_something_else_is_measured_again() {
    let dir = place();
    let here = dir.path();
    succeed(here, &["train", "run.toml"]);
    let measure = |text: &str| {
        fs::write(here.join("table.toml"), text).expect("writable");
        succeed(here, &MEASURE);
        let kept =
            |model: usize| json(&here.join(format!("runs/tables/tiny-table/scores/{model}.json")));
        let [teacher, student] = [kept(0), kept(1)];
        let score = |kept: &Value| {
            kept["measured"]["scores"]["CLIP"][0]
                .as_f64()
                .expect("a score")
        };
        let marks = [&teacher, &student].map(|kept| kept["fingerprint"].to_string());
        (marks, score(&teacher))
    };
    let (marks, cosine) = measure(TABLE);
    assert_eq!(measure(TABLE), (marks.clone(), cosine));
    // The same files and the same name, but other preprocessing, then another formula.
    let (others, _) = measure(&TABLE.replace("openai_l14", "dfn_h14"));
    assert!(others[0] != marks[0] && others[1] != marks[1]);
    let clip = "model.clip = { checkpoint = \"openai_l14\", ";
    let pick = TABLE.replace(clip, "model.pick_score = { ");
    let (_, scaled) = measure(&pick);
    let temperature = 3.0_f64.exp(); // of the fixture
    let error = scaled / temperature - cosine / 100.0;
    assert!(error.abs() < 1e-6, "{scaled} {cosine}");
    // Other weights under the teacher's name.
    let weights = here.join("base/transformer/diffusion_pytorch_model.safetensors");
    let mut tensors = read_tensors(&weights).expect("tensors");
    for tensor in tensors.values_mut() {
        *tensor = &*tensor * 1.25;
    }
    write_tensors(&weights, &tensors, Kind::Float, &BTreeMap::new()).expect("writable");
    let error = fail(here, &MEASURE);
    assert!(
        error.contains("base/transformer") && error.contains("began with"),
        "{error}"
    );
    // Of a run that does not know what it began with.
    fs::remove_file(here.join("runs/tiny/inputs.json")).expect("there");
    let (others, other) = measure(TABLE);
    assert!(others[0] != marks[0] && others[1] != marks[1]);
    assert!((other - cosine).abs() > 1e-6, "another teacher, {other}");
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
