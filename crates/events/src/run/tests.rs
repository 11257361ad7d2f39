//! Run folders.

use std::fs;

use super::RunDir;
use crate::OwnedRun;
use crate::environment::Environment;
use crate::error::EventsError;

#[test]
fn the_names_in_a_run() {
    let root = tempfile::tempdir().expect("temporary folder");
    let run = OwnedRun::create(root.path().join("runs"), "demo").expect("created");
    let relative = |path: std::path::PathBuf| {
        let path = path.strip_prefix(run.path()).expect("inside the run");
        path.to_string_lossy().into_owned()
    };
    assert_eq!(relative(run.config()), "config.toml");
    assert_eq!(relative(run.env()), "env.json");
    assert_eq!(relative(run.metrics()), "metrics.jsonl");
    assert_eq!(relative(run.tensorboard()), "tensorboard");
    assert_eq!(relative(run.sample(500)), "samples/update-000500.png");
    assert_eq!(
        relative(run.eval("student").expect("plain")),
        "eval/student.json"
    );
    assert_eq!(
        relative(run.checkpoint(1_234_567)),
        "checkpoints/update-1234567"
    );
    assert_eq!(relative(run.report()), "report/index.html");
    for path in [
        run.sample(0),
        run.eval("a").expect("plain"),
        run.checkpoint(0),
        run.report(),
    ] {
        assert!(
            path.parent().expect("folder").is_dir(),
            "{}",
            path.display()
        );
    }
}

#[test]
fn a_folder_of_other_files_is_no_run_to_resume() {
    let root = tempfile::tempdir().expect("temporary folder");
    fs::create_dir(root.path().join("demo")).expect("created");
    fs::write(root.path().join("demo/notes.txt"), "mine").expect("written");
    let error = OwnedRun::create(root.path(), "demo").expect_err("taken");
    assert!(matches!(error, EventsError::Taken { .. }));
    assert!(!error.to_string().contains("--resume"), "{error}");
}

#[test]
fn an_existing_run_is_not_overwritten() {
    let root = tempfile::tempdir().expect("temporary folder");
    let run = OwnedRun::create(root.path(), "demo").expect("created");
    run.write_config("name = \"demo\"\n").expect("written");
    run.keep();
    let path = run.path().to_owned();
    drop(run);
    let error = OwnedRun::create(root.path(), "demo").expect_err("exists");
    assert!(matches!(error, EventsError::RunExists { .. }));
    assert!(
        error.to_string().contains("continue it with `--resume`"),
        "{error}"
    );
    assert_eq!(RunDir::open(&path).expect("a run").path(), path);

    fs::create_dir(root.path().join("empty")).expect("created");
    OwnedRun::create(root.path(), "empty").expect("an empty folder is free");
}

#[test]
fn what_is_not_a_run_or_cannot_be_one_is_told() {
    let root = tempfile::tempdir().expect("temporary folder");
    let error = RunDir::open(root.path()).expect_err("no configuration");
    assert!(
        error.to_string().contains("it has no `config.toml`"),
        "{error}"
    );
    for name in ["", "..", "a/b", ".hidden", "a b"] {
        let error = OwnedRun::create(root.path(), name).expect_err(name);
        assert!(matches!(error, EventsError::Name { .. }), "{error}");
    }
    let file = root.path().join("file");
    fs::write(&file, "").expect("written");
    let error = OwnedRun::create(&file, "demo").expect_err("root is a file");
    assert!(error.to_string().contains("cannot create `"), "{error}");
    let error = OwnedRun::create(root.path(), "file").expect_err("run is a file");
    assert!(error.to_string().contains("file"), "{error}");
}

#[test]
fn lists_are_sorted_and_leave_out_strangers() {
    let root = tempfile::tempdir().expect("temporary folder");
    let run = OwnedRun::create(root.path(), "demo").expect("created");
    for update in [500, 50, 1_000_000] {
        fs::create_dir(run.checkpoint(update)).expect("created");
        fs::write(run.sample(update), "").expect("written");
    }
    fs::create_dir(run.checkpoints().join(".update-000600.tmp")).expect("created");
    fs::write(run.path().join("samples/notes.txt"), "").expect("written");
    let steps = |list: Vec<(u64, std::path::PathBuf)>| -> Vec<u64> {
        list.into_iter().map(|(update, _)| update).collect()
    };
    assert_eq!(
        steps(run.list_checkpoints().expect("listed")),
        [50, 500, 1_000_000]
    );
    assert_eq!(
        steps(run.list_samples().expect("listed")),
        [50, 500, 1_000_000]
    );
    assert_eq!(run.list_evals().expect("listed"), []);
    run.write_env(&Environment::detect()).expect("written");
    assert!(run.env().is_file());
}
