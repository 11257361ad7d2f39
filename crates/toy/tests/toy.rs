//! The toy method trains, resumes after a kill to the same numbers, and is rehearsed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use dmdr_tensor::read_tensors;

const CONFIG: &str = r#"
name = "toy"
precision = "f32"
[world]
preset = "mini"
[teacher]
weights = "assets/teacher.safetensors"
text_encoder = "assets/world-clip.safetensors"
[student]
num_steps = 2
[method.external]
name = "toy"
num_updates = 8
batch_size = 2
[optim.student]
lr = 1e-4
[ema]
decay = 0.5
[events]
checkpoint_every = 1
"#;

fn toy(arguments: &[&Path]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmdr-toy"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    command.args(arguments).current_dir(root);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn config(here: &Path) -> PathBuf {
    let path = here.join("toy.toml");
    fs::write(&path, CONFIG).expect("writable");
    path
}

/// What a run logged, without clocks.
fn losses(root: &Path) -> Vec<String> {
    let text = fs::read_to_string(root.join("toy/metrics.jsonl")).expect("records");
    let cut = |line: &str| {
        let start = line.find("\"grad_norm/student\"").expect("it is logged");
        line[start..]
            .split("\"time/")
            .next()
            .expect("before")
            .to_owned()
    };
    text.lines().map(cut).collect()
}

#[test]
fn it_trains_and_resumes_after_a_kill_to_the_same_numbers() {
    let dir = tempfile::tempdir().expect("temp dir");
    let config = config(dir.path());
    let (straight, killed) = (dir.path().join("straight"), dir.path().join("killed"));
    let output = toy(&[&config, &straight]).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");

    let mut child = toy(&[&config, &killed]).spawn().expect("it runs");
    let third = killed.join("toy/checkpoints/update-000003");
    let started = Instant::now();
    while !third.exists() && child.try_wait().expect("a child").is_none() {
        assert!(
            started.elapsed() < Duration::from_secs(300),
            "no checkpoint"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("a child");
    child.wait().expect("a child");
    let output = toy(&[&config, &killed, Path::new("--resume")]).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{output:?}");

    let expected = losses(&straight);
    assert_eq!(expected.len(), 8);
    assert_ne!(expected[0], expected[7], "it learns");
    assert_eq!(losses(&killed), expected);
    let weights =
        |root: &Path| read_tensors(&root.join("toy/student.safetensors")).expect("weights");
    assert_eq!(weights(&killed), weights(&straight));
}

#[test]
fn its_own_rules_are_checked_before_any_work() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = dir.path().join("toy.toml");
    let text = CONFIG.replace("[optim.student]", "[optim.judge]");
    fs::write(&path, text).expect("writable");
    let root = dir.path().join("runs");
    let output = toy(&[&path, &root]).output().expect("it runs");
    assert!(!output.status.success() && !root.exists());
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    for expected in [
        "`optim.student`: the method trains `student`, and it has no optimiser",
        "`optim.judge`: the method trains no `judge`, only `student`",
    ] {
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn it_is_rehearsed() {
    let dir = tempfile::tempdir().expect("temp dir");
    let output = toy(&[&config(dir.path()), Path::new("--rehearse")]).output();
    let output = output.expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let bytes: u64 = String::from_utf8_lossy(&output.stdout)
        .trim()
        .parse()
        .expect("a number");
    assert!((1 << 20..1 << 30).contains(&bytes), "{bytes}");
}

#[test]
fn the_program_itself_refuses_it_with_a_reason() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = config(dir.path());
    let experiment = dmdr_config::Experiment::load(&path, &[]).expect("a config");
    std::env::set_current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).expect("there");
    let error = dmdr_train::Distillation::new(&experiment).expect_err("it is of another program");
    let error = error.to_string();
    assert!(error.contains("`method.external` names `toy`"), "{error}");
}
