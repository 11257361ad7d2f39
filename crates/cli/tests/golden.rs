//! Ten updates over cold start and joint stage give the numbers they gave before: a refactoring changes none of them.
//! `scripts/loss_compare.py` compares every bit with an older commit on the same machine; this compares across machines.
//!
//! After a change of the numerics write them anew with `DMDR_GOLDEN=write cargo test --release --test golden`.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::succeed;

/// What a run has over [`COMMON`], by name.
const VARIANTS: [(&str, &[&str]); 9] = [
    ("refl", &["method.dmdr.rl.algorithm=refl"]),
    (
        "dpo",
        &["method.dmdr.rl.algorithm={ dpo = { groups = { num_prompts = 2, size = 3 } } }"],
    ),
    (
        "flow-grpo",
        &[
            "method.dmdr.rl.algorithm={ grpo = { groups = { num_prompts = 2, size = 3 }, num_inner_updates = 2, \
             shared_noise = false, step_weighting = \"uniform\" } }",
        ],
    ),
    (
        "grpo",
        &[
            "method.dmdr.rl.algorithm={ grpo = { groups = { num_prompts = 2, size = 3 }, num_inner_updates = 2 } }",
        ],
    ),
    (
        "lora-student",
        &[
            SMALL,
            "student.tuning.lora.rank=4",
            "student.tuning.lora.targets=[\"blocks.*\"]",
        ],
    ),
    (
        "full-fake-score",
        &[
            SMALL,
            "fake_score.form=full",
            "fake_score.targets=",
            "method.dmdr.dm.real_scale=0.0",
        ],
    ),
    (
        "output-lora",
        &[SMALL, "fake_score.form=output_lora", "fake_score.targets="],
    ),
    (
        // Only what is evaluated tells the average from the student.
        "decoupled-ema",
        &[
            SMALL,
            "ema.decay=0.5",
            "events.evaluate_every=5",
            "method.dmdr.dm.augmentation.weight=2.0",
            "method.dmdr.dm.augmentation.below_input=true",
        ],
    ),
    (
        "rl-alone",
        &[
            "method.dmdr=",
            "optim.fake_score=",
            "method.rl.algorithm=refl",
            "method.rl.num_updates=10",
            "method.rl.batch_size=2",
            "method.rl.pretraining=0.5",
        ],
    ),
];
const COMMON: [&str; 7] = [
    "precision=f32",
    "method.dmdr.num_updates=10",
    "method.dmdr.batch_size=4",
    "method.dmdr.rl.weight={ step = { from = 0.0, to = 0.3, at = 4 } }",
    "events.sample_every=0",
    "events.evaluate_every=0",
    "events.checkpoint_every=0",
];
const SMALL: &str = "method.dmdr.batch_size=2";
/// Other processors add in another order; ten updates blow that up a little.
const TOLERANCE: f64 = 1e-2;

/// Losses and gradient norms of all updates, and what was evaluated, by name.
type Golden = BTreeMap<String, Vec<f64>>;

fn is_golden(key: &str) -> bool {
    key.starts_with("loss/")
        || key.starts_with("grad_norm/")
        || ["world_clip", "preference"].contains(&key)
}

/// With the shipped networks, so that every term has a size.
fn run(root: &Path, name: &str, own: &[&str]) -> Golden {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root_name = root.to_string_lossy();
    let name_set = format!("name={name}");
    let mut arguments = vec!["train", "configs/smoke.toml", "--root", &root_name];
    for set in [&[name_set.as_str()], &COMMON[..], own].concat() {
        arguments.extend(["--set", set]);
    }
    succeed(&repository, &arguments);
    let text = fs::read_to_string(root.join(name).join("metrics.jsonl"));
    let mut golden = Golden::new();
    for line in text.expect("records").lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("whole lines");
        for (key, value) in record["values"].as_object().expect("values") {
            if is_golden(key) {
                let series = golden.entry(key.clone()).or_default();
                series.push(value.as_f64().expect("a number"));
            }
        }
    }
    golden
}

#[test]
fn ten_updates_give_the_golden_numbers() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden.json");
    let root = tempfile::tempdir().expect("temp dir");
    let got: BTreeMap<String, Golden> = VARIANTS
        .iter()
        .map(|(name, own)| ((*name).to_owned(), run(root.path(), name, own)))
        .collect();
    if std::env::var("DMDR_GOLDEN").is_ok_and(|value| value == "write") {
        let text = serde_json::to_string_pretty(&got).expect("numbers");
        fs::write(&path, text + "\n").expect("writable");
        return;
    }
    let text = fs::read_to_string(&path).expect("tests/golden.json");
    let golden: BTreeMap<String, Golden> = serde_json::from_str(&text).expect("numbers");
    assert!(got.keys().eq(golden.keys()), "{:?}", got.keys());
    for (name, expected) in &golden {
        let got = &got[name];
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
