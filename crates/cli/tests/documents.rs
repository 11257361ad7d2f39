//! The commands of the documents do what they say: each block of shell in them is run word for word, on tiny models.
//!
//! A `dmdr` in front of the real one makes configs tiny. What cannot be run here stands in [`ELSEWHERE`], with the test
//! or script that runs it.

mod common;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use common::{checked, pipeline, workspace};
use tempfile::TempDir;

/// Documents whose blocks are run, in this order, each in a folder of its own.
const RUN: [&str; 4] = [
    "README.md",
    "docs/start.md",
    "docs/your-model.md",
    "docs/export.md",
];

/// First words of lines that are not run here, and what runs them.
const ELSEWHERE: [(&str, &str); 14] = [
    (
        "make demo",
        "by hand before a release; its parts are the other commands",
    ),
    ("make test", "this test is part of it"),
    ("make setup", "every build begins with it"),
    ("cargo build --release", "this test is built by it"),
    (
        "cargo run --release --package dmdr-toy",
        "crates/toy/tests/toy.rs",
    ),
    ("export PATH", "the test sets its own path"),
    ("#SBATCH", "SLURM reads it"),
    ("torchrun --no-python", "processes.rs"),
    ("srun --ntasks-per-node", "processes.rs"),
    (
        "dmdr train config.toml --root",
        "the job script of a cluster: resume.rs",
    ),
    ("dmdr eval table", "table.rs"),
    ("dmdr eval geneval", "benchmarks.rs"),
    ("dmdr eval dpg", "benchmarks.rs"),
    (
        "dmdr eval runs/longer --split validation",
        "commands.rs, and docs/start.md",
    ),
];

/// What makes a config of this name tiny.
fn tiny(config: &str) -> Vec<&'static str> {
    let common = [
        "device=cpu",
        "precision=f32",
        "teacher.num_steps=2",
        "method.dmdr.num_updates=2",
    ];
    let own: &[&str] = match config {
        "demo" => &[
            "method.dmdr.batch_size=4",
            "method.dmdr.ttur=1",
            "events.sample_every=0",
            "events.evaluate_every=0",
            "guard=",
        ],
        "sd3-medium-dmdr" => &[
            "world.prompts.train=train.txt",
            "world.prompts.validation=train.txt",
            "world.prompts.size=24",
            "world.prompts.embeddings=cache",
            "student.tuning.lora.rank=2",
            "fake_score.rank=2",
            "method.dmdr.batch_size=4",
            "method.dmdr.ttur=1",
            "rewards.0.model.clip.weights=FOLDER/clip",
            "rewards.0.model.clip.tokenizer=FOLDER/clip-tokenizer",
            "rewards.1.model.hps.weights=FOLDER/clip",
            "rewards.1.model.hps.tokenizer=FOLDER/clip-tokenizer",
            "evaluation.detectors=",
            "evaluation.diversity=",
            "evaluation.metrics=",
            "events.sample_every=0",
            "events.evaluate_every=0",
            "guard=",
        ],
        "mine" => &[],
        other => panic!("`{other}` has no tiny form: add it"),
    };
    if config == "mine" {
        return Vec::new(); // the document says its tiny values itself
    }
    common.iter().chain(own).copied().collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).expect("a document")
}

/// The blocks of `language` of a document.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    let parts = text.split(fence.as_str()).skip(1);
    parts
        .map(|part| part.split("\n```").next().expect("it ends"))
        .collect()
}

/// Lines of a block, continued ones joined.
fn lines(block: &str) -> Vec<String> {
    let joined = block.replace("\\\n", " ");
    let lines = joined.lines().map(str::trim);
    lines
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect()
}

fn elsewhere(line: &str) -> Option<&'static str> {
    let mut all = ELSEWHERE.iter().map(|(start, _)| *start);
    all.find(|start| line.starts_with(start))
}

/// A program `name` in `bin`.
fn program(bin: &Path, name: &str, script: &str) {
    let path = bin.join(name);
    fs::write(&path, format!("#!/bin/bash\n{script}\n")).expect("writable");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
}

/// A folder as a reader has it after the build: configs, assets, tiny models, and programs in `bin`.
fn scene() -> TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    let here = dir.path();
    for folder in ["configs", "assets"] {
        std::os::unix::fs::symlink(workspace().join(folder), here.join(folder)).expect("writable");
    }
    fs::write(here.join("train.txt"), "a red cat\ntwo boats\n").expect("writable");
    for folder in ["FOLDER", "tiny"] {
        fs::create_dir(here.join(folder)).expect("writable");
        pipeline::sd3(&here.join(folder));
        pipeline::clip(&here.join(folder));
    }
    let bin = here.join("bin");
    fs::create_dir(&bin).expect("writable");
    let sets = |config| {
        let sets: Vec<String> = tiny(config)
            .iter()
            .map(|set| format!("--set '{set}'"))
            .collect();
        sets.join(" ")
    };
    let real = env!("CARGO_BIN_EXE_dmdr");
    let script = format!(
        "case \"$1 $2\" in\n\
         'doctor configs/demo.toml'|'train configs/demo.toml') exec {real} -q \"$@\" {demo} ;;\n\
         'doctor configs/sd3-medium-dmdr.toml'|'train configs/sd3-medium-dmdr.toml') exec {real} -q \"$@\" {sd3} ;;\n\
         sample*) exec {real} -q \"$@\" --count 1 ;;\n\
         *) exec {real} -q \"$@\" ;;\nesac",
        demo = sets("demo"),
        sd3 = sets("sd3-medium-dmdr"),
    );
    program(&bin, "dmdr", &script);
    // `cargo run --example tiny_pipeline -- FOLDER`, which this test has no cargo for.
    program(
        &bin,
        "cargo",
        "mkdir -p \"$(dirname \"${@: -1}\")\" && cp -r tiny \"${@: -1}\"",
    );
    dir
}

fn shell(here: &Path, line: &str) {
    let path = std::env::var("PATH").expect("a path");
    checked(
        Command::new("bash")
            .args(["-e", "-c", line])
            .current_dir(here)
            .env("OMP_NUM_THREADS", "1")
            .env("PATH", format!("{}:{path}", here.join("bin").display())),
    );
}

/// `docs/your-model.md` names the tiny pipeline's values in its comments: "24 for the tiny pipeline".
fn own_config(text: &str) -> String {
    let block = blocks(text, "toml")[0];
    let line = |line: &str| match line.split_once(" for the tiny pipeline") {
        None => format!("{line}\n"),
        Some((before, _)) => {
            let (key, _) = before.split_once('=').expect("a key");
            let value = before.rsplit(['#', ';', ' ']).next().expect("a value");
            format!("{key}= {value}\n")
        }
    };
    block.lines().map(line).collect()
}

fn follow(document: &str, here: &Path) {
    let text = read(document);
    if document == "docs/your-model.md" {
        fs::write(here.join("mine.toml"), own_config(&text)).expect("writable");
    }
    let mut ran = 0;
    for line in blocks(&text, "sh").into_iter().flat_map(lines) {
        if elsewhere(&line).is_none() {
            shell(here, &line);
            ran += 1;
        }
    }
    assert!(ran > 0, "{document} has no command");
}

#[test]
fn the_front_page() {
    let scene = scene();
    follow("README.md", scene.path());
    let run = scene.path().join("runs/mine");
    assert!(run.join("report/index.html").is_file());
    assert!(scene.path().join("lighthouse.png").is_file());
    assert!(
        scene
            .path()
            .join("adapter/pytorch_lora_weights.safetensors")
            .is_file()
    );
}

#[test]
fn the_start() {
    let scene = scene();
    follow("docs/start.md", scene.path());
    assert!(
        scene
            .path()
            .join("runs/joint/student.safetensors")
            .is_file()
    );
}

#[test]
fn your_own_model_and_its_export() {
    let scene = scene();
    follow("docs/your-model.md", scene.path());
    assert!(scene.path().join("runs/mine/student.safetensors").is_file());
    fs::remove_dir_all(scene.path().join("adapter")).expect("exported");
    let adapter = scene.path().join("adapter.safetensors");
    shell(scene.path(), "dmdr export runs/mine --output again");
    let exported = scene.path().join("again/pytorch_lora_weights.safetensors");
    fs::copy(exported, adapter).expect("exported");
    follow("docs/export.md", scene.path());
    assert!(
        scene
            .path()
            .join("runs/from-adapter/student.safetensors")
            .is_file()
    );
}

#[test]
fn every_block_of_shell_is_run_by_something() {
    let mut unused: BTreeSet<&str> = ELSEWHERE.iter().map(|(start, _)| *start).collect();
    let pages = fs::read_dir(root().join("docs")).expect("docs").flatten();
    let pages = pages.map(|entry| entry.path());
    let pages = pages.filter(|path| path.extension().is_some_and(|ending| ending == "md"));
    let name = |path: PathBuf| format!("docs/{}", path.file_name().expect("a file").display());
    let documents = pages.map(name).chain(["README.md".to_owned()]);
    for document in documents {
        for line in blocks(&read(&document), "sh").into_iter().flat_map(lines) {
            match elsewhere(&line) {
                Some(start) => {
                    unused.remove(start);
                }
                None => assert!(RUN.contains(&document.as_str()), "{document}: {line}"),
            }
        }
    }
    assert!(unused.is_empty(), "no document has {unused:?} any more");
}
