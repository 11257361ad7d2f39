//! The stop rule on a held-out metric.

mod common;

use std::fs;

use common::{succeed, workspace};

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
    let last: serde_json::Value =
        serde_json::from_str(log.lines().last().expect("lines")).expect("a record");
    assert_eq!(last["step"], 5);
    arguments.push("--resume");
    succeed(here, &arguments);
    assert_eq!(
        fs::read_to_string(run.join("metrics.jsonl")).expect("records"),
        log
    );
}
