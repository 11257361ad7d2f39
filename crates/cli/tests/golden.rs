//! Ten updates over cold start and joint stage give the numbers they gave before: a refactoring changes none of them.
//!
//! After a change of the numerics write them anew with `DMDR_GOLDEN=write cargo test --release --test golden`.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::succeed;

const ALGORITHMS: [(&str, &str); 4] = [
    ("refl", "\"refl\""),
    (
        "dpo",
        "{ dpo = { groups = { num_prompts = 2, size = 3 } } }",
    ),
    (
        "flow-grpo",
        "{ grpo = { groups = { num_prompts = 2, size = 3 }, num_inner_updates = 2, shared_noise = false, \
         step_weighting = \"uniform\" } }",
    ),
    (
        "grpo",
        "{ grpo = { groups = { num_prompts = 2, size = 3 }, num_inner_updates = 2 } }",
    ),
];
/// Other processors add in another order; ten updates blow that up a little.
const TOLERANCE: f64 = 1e-2;

/// Losses of all updates, by name.
type Golden = BTreeMap<String, Vec<f64>>;

/// With the shipped networks, so that every term has a size.
fn run(root: &Path, name: &str, algorithm: &str) -> Golden {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let sets = [
        format!("name={name}"),
        "precision=f32".into(),
        "method.dmdr.num_updates=10".into(),
        "method.dmdr.batch_size=4".into(),
        "method.dmdr.rl.weight={ step = { from = 0.0, to = 0.3, at = 4 } }".into(),
        format!("method.dmdr.rl.algorithm={algorithm}"),
        "events.sample_every=0".into(),
        "events.evaluate_every=0".into(),
    ];
    let root_name = root.to_string_lossy();
    let mut arguments = vec!["train", "configs/smoke.toml", "--root", &root_name];
    for set in &sets {
        arguments.extend(["--set", set]);
    }
    succeed(&repository, &arguments);
    let text = fs::read_to_string(root.join(name).join("metrics.jsonl"));
    let mut golden = Golden::new();
    for line in text.expect("records").lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("whole lines");
        for (key, value) in record["values"].as_object().expect("values") {
            if key.starts_with("loss/") {
                let series = golden.entry(key.clone()).or_default();
                series.push(value.as_f64().expect("a number"));
            }
        }
    }
    golden
}

#[test]
fn ten_updates_give_the_golden_losses() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden.json");
    let root = tempfile::tempdir().expect("temp dir");
    let got: BTreeMap<&str, Golden> = ALGORITHMS
        .iter()
        .map(|(name, algorithm)| (*name, run(root.path(), name, algorithm)))
        .collect();
    if std::env::var("DMDR_GOLDEN").is_ok_and(|value| value == "write") {
        let text = serde_json::to_string_pretty(&got).expect("numbers");
        fs::write(&path, text + "\n").expect("writable");
        return;
    }
    let text = fs::read_to_string(&path).expect("tests/golden.json");
    let golden: BTreeMap<String, Golden> = serde_json::from_str(&text).expect("numbers");
    for (name, expected) in &golden {
        let got = &got[name.as_str()];
        assert_eq!(
            got.keys().collect::<Vec<_>>(),
            expected.keys().collect::<Vec<_>>()
        );
        for (key, expected) in expected {
            assert_eq!(got[key].len(), expected.len(), "{name} {key}");
            for (step, (got, expected)) in got[key].iter().zip(expected).enumerate() {
                let error = (got - expected).abs() / expected.abs().max(1e-3);
                assert!(
                    error < TOLERANCE,
                    "{name} {key} at {step}: {got}, golden {expected}"
                );
            }
        }
    }
}
