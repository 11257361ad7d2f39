//! The periodic evaluation, and the stop rule on a held-out metric.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{pipeline, succeed, workspace};
use serde_json::Value;

#[test]
fn a_stopped_run_leaves_its_best_student() {
    let here = workspace();
    // Tiny networks get nothing right: the first joint evaluation is the best one, and the second ends the patience.
    let mut arguments = vec!["train", "configs/smoke.toml", "--root", "guarded"];
    for set in [
        "method.dmdr.num_updates=40",
        "guard={ metric = \"geneval\", patience = 1, action = \"stop\" }",
        "events.evaluate_every=3",
    ] {
        arguments.extend(["--set", set]);
    }
    succeed(here, &arguments);
    let run = here.join("guarded/smoke");
    let bytes = |name: &str| fs::read(run.join(name)).expect("written");
    assert_eq!(bytes("student.safetensors"), bytes("best.safetensors"));
    let log = fs::read_to_string(run.join("metrics.jsonl")).expect("records");
    let last: Value = serde_json::from_str(log.lines().last().expect("lines")).expect("a record");
    assert_eq!(last["update"], 5);
    arguments.push("--resume");
    succeed(here, &arguments);
    assert_eq!(
        fs::read_to_string(run.join("metrics.jsonl")).expect("records"),
        log
    );
}

/// On tiny Stable Diffusion 3, all at once, or nothing of it.
const WATCHED: [&str; 6] = [
    "events.evaluate_every=1",
    "evaluation.num_prompts=9",
    "evaluation.detectors=[\"saturation\", \"high_frequency\"]",
    "evaluation.metrics=[{ name = \"pick\", model.pick_score = { weights = \"base/clip\", tokenizer = \"base/clip-tokenizer\" } }]",
    "evaluation.diversity={ trunk = \"alex\", features = \"alexnet.safetensors\", linear = \"alex.safetensors\", size = 64 }",
    "guard={ metric = \"pick\", patience = 1, action = { lower_rl = 0.5 } }",
];

/// The same, as a table of the finished student.
const TABLE: &str = r#"
name = "last"
precision = "f32"
seeds = [0, 1]
batch_size = 2
detectors = ["saturation", "high_frequency"]
prompts.file = "prompts.txt"
models = [{ name = "student", run = "watched/tiny", who = "student" }]
metrics = [{ name = "pick", model.pick_score = { weights = "base/clip", tokenizer = "base/clip-tokenizer" } }]
diversity = { trunk = "alex", features = "alexnet.safetensors", linear = "alex.safetensors", size = 64 }
"#;

/// Records of a kind: update, and numbers.
fn records(run: &Path, kind: &str) -> Vec<(u64, BTreeMap<String, f64>)> {
    let log = fs::read_to_string(run.join("metrics.jsonl")).expect("records");
    let records = log.lines().map(|line| {
        let record: Value = serde_json::from_str(line).expect("a record");
        let values = serde_json::from_value(record["values"].clone()).expect("numbers");
        let update = record["update"].as_u64().expect("an update");
        (record["kind"] == kind).then_some((update, values))
    });
    records.flatten().collect()
}

#[test]
fn a_published_model_is_measured_on_its_way_and_not_led_by_it() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    pipeline::lpips(here);
    let reward = "rewards=[{ model.hps = { weights = \"base/clip\", tokenizer = \"base/clip-tokenizer\" } }]";
    let train = |root: &str, sets: &[&str]| {
        let mut arguments = vec!["train", "run.toml", "--root", root];
        let base = [
            "method.dmdr.num_updates=6",
            "optim.student.lr=30", // so that some evaluations are worse than the one before
            "method.dmdr.rl.weight=1",
            reward,
        ];
        for set in base.iter().chain(sets) {
            arguments.extend(["--set", set]);
        }
        succeed(here, &arguments);
    };
    train("watched", &WATCHED);
    let run = here.join("watched/tiny");
    let seen = records(&run, "evaluate");
    let steps: Vec<u64> = seen.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [0, 1, 2, 3, 4, 5]);

    // The last one is what a table finds of the finished student.
    fs::write(here.join("table.toml"), TABLE).expect("writable");
    succeed(here, &["eval", "table", "--config", "table.toml"]);
    let table = fs::read(here.join("runs/tables/last/table.json")).expect("written");
    let table: Value = serde_json::from_slice(&table).expect("JSON");
    let (_, last) = &seen[5];
    assert_eq!(last.len(), 4, "{last:?}");
    for (name, found) in last {
        let expected = table["table"]["rows"][0]["means"][name]["mean"].as_f64();
        let expected = expected.expect("a number");
        assert!(
            (found - expected).abs() <= 1e-9 * expected.abs(),
            "{name}: {found}, {expected}"
        );
    }

    // The weight of the reward is what the guard made of the evaluations before.
    let mut best = f64::NEG_INFINITY;
    let mut weight = 1.0;
    for ((_, update), (_, evaluation)) in records(&run, "train").iter().zip(&seen) {
        assert!((update["rl/weight"] - weight).abs() < 1e-12, "{update:?}");
        if evaluation["pick"] > best {
            best = evaluation["pick"];
        } else {
            weight *= 0.5;
        }
    }
    assert!(weight < 1.0, "it had to act");
    assert!(run.join("best.safetensors").is_file());

    // Watching alone changes no number of the training.
    train("blind", &[]);
    train("seen", &WATCHED[..5]);
    let trained = |root: &str| {
        let mut records = records(&here.join(root).join("tiny"), "train");
        for (_, values) in &mut records {
            values.remove("time/update_s");
        }
        records
    };
    assert_eq!(trained("blind"), trained("seen"));
}
