//! Tiny networks made by the binary itself, once per test program.
#![allow(dead_code, reason = "every test program uses its own part")]

pub(crate) mod hub;
pub(crate) mod metrics;
pub(crate) mod pipeline;
pub(crate) mod server;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use tempfile::TempDir;

/// The binary under test, quiet, one thread so that tests share the machine.
pub(crate) fn dmdr(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmdr"));
    command
        .current_dir(directory)
        .env("OMP_NUM_THREADS", "1")
        .arg("--quiet")
        .args(arguments);
    command
}

/// Runs it and panics with its words if it fails.
pub(crate) fn succeed(directory: &Path, arguments: &[&str]) -> Output {
    checked(&mut dmdr(directory, arguments))
}

/// [`succeed`] for a command with more to it.
pub(crate) fn checked(command: &mut Command) -> Output {
    let output = command.output().expect("the binary starts");
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Runs it, expects it to fail, and returns what it said on stderr.
pub(crate) fn fail(directory: &Path, arguments: &[&str]) -> String {
    let output = dmdr(directory, arguments)
        .output()
        .expect("the binary starts");
    assert!(!output.status.success(), "dmdr {arguments:?} should fail");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with `configs/` and freshly pretrained tiny `assets/`.
pub(crate) fn workspace() -> &'static Path {
    static WORKSPACE: OnceLock<TempDir> = OnceLock::new();
    WORKSPACE.get_or_init(build).path()
}

fn build() -> TempDir {
    let directory = tempfile::tempdir().expect("temp dir");
    let here = directory.path();
    let configs = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../configs");
    std::fs::create_dir(here.join("configs")).expect("writable");
    std::fs::create_dir(here.join("assets")).expect("writable");
    for entry in std::fs::read_dir(configs).expect("configs/ is there") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a file");
        if path.is_file() {
            std::fs::copy(&path, here.join("configs").join(name)).expect("writable");
        }
    }
    let tower = |name: &str, model: &str| {
        let mut sets = vec![
            format!("model.{model}.dim=16"),
            format!("model.{model}.text_depth=1"),
            format!("model.{model}.image_depth=1"),
            format!("model.{model}.heads=2"),
            format!("model.{model}.embed_dim=16"),
        ];
        if model == "preference" {
            sets.push("model.preference.repaint.teacher=assets/teacher.safetensors".to_owned());
        }
        pretrain(here, name, name, &sets);
    };
    tower("text-encoder", "world_clip");
    tower("world-clip", "world_clip");
    let sets = ["dim=32", "depth=2", "heads=2"].map(|set| format!("model.teacher.{set}"));
    pretrain(here, "teacher-base", "teacher", &sets);
    tower("preference", "preference");
    tower("preference-heldout", "preference");
    directory
}

/// In f32, whatever the machine: golden numbers hang on these weights.
fn pretrain(here: &Path, config: &str, asset: &str, sets: &[String]) {
    let config = format!("configs/{config}.toml");
    let output = format!("assets/{asset}.safetensors");
    let mut arguments = vec!["pretrain", &config, "--output", &output];
    for set in [
        "precision=f32",
        "num_updates=3",
        "batch_size=12",
        "events.sample_every=0",
        "events.checkpoint_every=0",
    ] {
        arguments.extend(["--set", set]);
    }
    for set in sets {
        arguments.extend(["--set", set]);
    }
    succeed(here, &arguments);
}
