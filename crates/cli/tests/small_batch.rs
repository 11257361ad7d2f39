//! A batch of fewer samples than the student has steps: it trains, resumes to the same numbers, and `dmdr doctor` offers it.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{succeed, workspace};

/// Four steps at batch 1, over cold start and joint stage, with guidance drawn for each update.
const SETS: [&str; 8] = [
    "student.num_steps=4",
    "method.dmdr.batch_size=1",
    "method.dmdr.num_updates=9",
    "method.dmdr.dm.guidance=[2.0, 4.0]",
    "rewards.0.hinge=0.7",
    "events.checkpoint_every=4",
    "events.keep_checkpoints=9",
    "events.sample_every=0",
];

fn run(command: &str, root: &str, more: &[&str]) -> String {
    let mut arguments = vec![command, "configs/smoke.toml"];
    if command == "train" {
        arguments.extend(["--root", root]);
    }
    for set in SETS {
        arguments.extend(["--set", set]);
    }
    arguments.extend(more);
    let output = succeed(workspace(), &arguments);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Losses and guidance of every update.
fn numbers(run: &Path) -> Vec<(String, u64, f64)> {
    let text = fs::read_to_string(run.join("metrics.jsonl")).expect("records");
    let mut found = Vec::new();
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).expect("whole lines");
        for (key, value) in record["values"].as_object().expect("values") {
            if key.starts_with("loss/") || key == "dm/guidance" {
                let update = record["update"].as_u64().expect("a number");
                found.push((key.clone(), update, value.as_f64().expect("a number")));
            }
        }
    }
    found
}

/// Without the header, which holds the command line.
fn weights(run: &Path) -> Vec<u8> {
    let file = fs::read(run.join("student.safetensors")).expect("a finished student");
    let header = u64::from_le_bytes(file[..8].try_into().expect("8 bytes"));
    file[8 + usize::try_from(header).expect("a small header")..].to_vec()
}

fn checkpoints(run: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(run.join("checkpoints")).expect("checkpoints");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("readable").path())
        .collect();
    paths.sort();
    paths
}

#[test]
fn a_batch_of_one_trains_and_resumes_to_the_same_numbers() {
    run("train", "small", &[]);
    let run_folder = workspace().join("small/smoke");
    let (before, student) = (numbers(&run_folder), weights(&run_folder));
    let losses = before.iter().filter(|(key, ..)| key == "loss/dm");
    assert_eq!(losses.count(), 9, "{before:?}");
    assert!(before.iter().any(|(key, ..)| key == "loss/rl"));
    assert!(before.iter().all(|(.., value)| value.is_finite()));

    // As if it had been killed behind the checkpoint of the fourth update: in the middle of a cycle of 4 steps and 2 rollouts.
    let all = checkpoints(&run_folder);
    assert_eq!(all.len(), 3, "{all:?}");
    for later in &all[1..] {
        fs::remove_dir_all(later).expect("there");
    }
    fs::remove_file(run_folder.join("student.safetensors")).expect("there");
    run("train", "small", &["--resume"]);
    assert_eq!(numbers(&run_folder), before);
    assert_eq!(weights(&run_folder), student);
}

#[test]
fn doctor_offers_a_batch_below_the_number_of_steps() {
    let plan = run("doctor", "", &["--set", "method.dmdr.batch_size=2"]);
    assert!(plan.contains("batch_size = 1"), "{plan}");
    // Not where the prompts of groups cannot be halved.
    let groups = "method.dmdr.rl.algorithm={ dpo = { groups = { num_prompts = 1, size = 2 } } }";
    let plan = run(
        "doctor",
        "",
        &["--set", "method.dmdr.batch_size=2", "--set", groups],
    );
    assert!(!plan.contains("batch_size = 1"), "{plan}");
}
