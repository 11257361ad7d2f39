//! A reward model on a server: GRPO learns from it, a server that dies stops the run, which goes on when it is back.

mod common;

use std::{
    fs,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{
    checked, dmdr, fail, pipeline,
    server::{Answer, serve},
    succeed,
};
use dmdr_tensor::read_tensors;

const REWARD: &str = r#"
[[rewards]]
[rewards.model.remote]
name = "weigher"
url = "URL"
timeout_s = 20
key_env = "WEIGHER_KEY"
"#;

/// Scores a picture by the length of its text in base64; the requests `closed` are refused for good.
fn weigher(closed: Range<usize>) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let url = serve(move |request| {
        assert_eq!(request.header("authorization"), Some("bearer open sesame"));
        if closed.contains(&counted.fetch_add(1, Ordering::SeqCst)) {
            return Answer {
                status: 410,
                ..Answer::ok("closed")
            };
        }
        let batch: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        let images = batch["images"].as_array().expect("images");
        assert_eq!(
            batch["prompts"].as_array().map(Vec::len),
            Some(images.len())
        );
        let scores: Vec<usize> = images
            .iter()
            .map(|image| image.as_str().expect("base64").len())
            .collect();
        Answer::ok(serde_json::json!({ "scores": scores }).to_string())
    });
    (url, count)
}

/// Gives these answers, one after the other, and no more.
fn server_of<const N: usize>(answers: [&'static str; N]) -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let url = serve(move |_| Answer::ok(answers[counted.fetch_add(1, Ordering::SeqCst)]));
    (url, count)
}

#[test]
fn grpo_learns_from_a_server() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let config = fs::read_to_string(here.join("run.toml")).expect("written");
    let with = |name: &str, url: &str, algorithm: &str| {
        let rl = format!("[method.dmdr.rl]\nalgorithm = {algorithm}\n");
        let text = config.replace("[optim.student]", &format!("{rl}[optim.student]"));
        let text = text.replace("name = \"tiny\"", &format!("name = \"{name}\""));
        let text = text.replace("num_updates = 1", "num_updates = 3");
        let text = text.replace("[events]", "[events]\ncheckpoint_every = 1");
        let file = format!("{name}.toml");
        fs::write(here.join(&file), text + &REWARD.replace("URL", url)).expect("writable");
        file
    };
    let grpo = "{ grpo = { groups = { num_prompts = 1, size = 4 } } }";
    let run = |arguments: &[&str]| {
        let mut command = dmdr(here, arguments);
        command.env("WEIGHER_KEY", "open sesame");
        command
    };

    let (url, count) = weigher(0..0);
    let whole = with("whole", &url, grpo);
    checked(&mut run(&["doctor", &whole]));
    assert_eq!(count.load(Ordering::SeqCst), 0, "a rehearsal asks nobody");
    checked(&mut run(&["train", &whole]));
    assert_eq!(count.load(Ordering::SeqCst), 3, "one batch an update");
    let metrics = fs::read_to_string(here.join("runs/whole/metrics.jsonl")).expect("written");
    assert!(metrics.contains("reward/weigher/mean"));

    // It closes after two updates. When it is open again, the run goes on to the numbers of one that was never stopped.
    let (url, _) = weigher(2..3);
    let broken = with("broken", &url, grpo);
    let output = run(&["train", &broken]).output().expect("starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && error.contains("`weigher`") && error.contains("410"),
        "{error}"
    );
    checked(&mut run(&["train", &broken, "--resume"]));
    let student = |name: &str| {
        read_tensors(&here.join("runs").join(name).join("student.safetensors")).expect("finished")
    };
    assert_eq!(student("whole"), student("broken"));

    // A picture without a score is left out; an answer that is none is asked for anew, and then all its pictures are.
    let (url, count) = server_of([
        r#"{"scores": [0.5, null, 0.25, 1]}"#,
        "[]",
        r#"{"scores": [1, 2, 3, 4]}"#,
        "gateway asleep",
        "gateway asleep",
        "gateway asleep",
    ]);
    let holes = with("holes", &url, grpo);
    checked(&mut run(&["train", &holes]));
    assert_eq!(count.load(Ordering::SeqCst), 6);
    let metrics = fs::read_to_string(here.join("runs/holes/metrics.jsonl")).expect("written");
    let left_out = |number: &str| {
        metrics
            .matches(&format!("\"rl/left_out\":{number}"))
            .count()
    };
    assert_eq!(
        (left_out("1.0"), left_out("4.0"), left_out("")),
        (1, 1, 2),
        "{metrics}"
    );

    // Before any work: an address that is none, a key that is not there, an algorithm that needs a gradient.
    let nowhere = with("nowhere", "weigher.example", grpo);
    let error =
        String::from_utf8_lossy(&run(&["train", &nowhere]).output().expect("starts").stderr)
            .into_owned();
    assert!(error.contains("weigher.example"), "{error}");
    assert!(fail(here, &["train", &whole, "--set", "name=keyless"]).contains("WEIGHER_KEY"));
    let refl = with("refl", &url, "\"refl\"");
    assert!(fail(here, &["config", "check", &refl]).contains("ReFL needs one"));
    succeed(here, &["config", "check", &whole]);
}
