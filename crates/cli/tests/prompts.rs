//! Prompt files of a run: what is kept and told of them, and that they stay as they are.

mod common;

use std::{fs, path::Path, process::Command};

use common::{checked, fail, pipeline, succeed};
use serde_json::Value;

/// Adds `lines` to `[world.prompts]` of `run.toml`, with training and sheets in files of their own.
fn configure(here: &Path, lines: &str) {
    let text = fs::read_to_string(here.join("run.toml")).expect("there");
    let text = text.replace(
        "train = \"prompts.txt\"\nvalidation = \"prompts.txt\"",
        lines,
    );
    fs::write(here.join("run.toml"), text).expect("writable");
}

/// What `dmdr` says on stderr when it is not told to be quiet.
fn words(here: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmdr"));
    command
        .current_dir(here)
        .env("OMP_NUM_THREADS", "1")
        .args(arguments);
    String::from_utf8(checked(&mut command).stderr).expect("text")
}

#[test]
fn what_is_kept_is_told_and_written_down() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    configure(
        here,
        "train = [\"a.jsonl\", \"b.jsonl\"]\nvalidation = \"sheet.txt\"\nmin_chars = 3\nmax_chars = 12\n\
         deduplicate = true\non_bad_row = \"skip\"",
    );
    let rows =
        "{\"prompt\": \"a red cat\"}\n{}\n{\"prompt\": \"A  red cat\"}\n{\"prompt\": \"a\"}\n";
    fs::write(here.join("a.jsonl"), rows).expect("writable");
    let rows = "{\"prompt\": \"a ball left of a box\"}\n{\"prompt\": \"two boats\"}\n{\n";
    fs::write(here.join("b.jsonl"), rows).expect("writable");
    fs::write(here.join("sheet.txt"), "Two Boats\na dog\n").expect("writable");

    let plan = succeed(here, &["doctor", "run.toml"]).stdout;
    let plan = String::from_utf8(plan).expect("text");
    let told = words(here, &["train", "run.toml"]);
    let census = "prompts of training: 7 rows, 2 kept, 2 bad (1 malformed, 1 missing column), 1 too short, 1 too long, \
                  1 duplicates\n  left out: `a.jsonl` line 2: no column `prompt`\n  left out: `b.jsonl` line 3: ";
    for text in [&plan, &told] {
        assert!(text.contains(census), "{text}");
        let sheets = "prompts of validation: 2 rows, 2 kept\n";
        assert!(text.contains(sheets), "{text}");
        let overlap =
            "1 prompts of the training are among those of validation as well, such as `two boats`";
        assert!(text.contains("warning") && text.contains(overlap), "{text}");
    }
    let record = fs::read(here.join("runs/tiny/prompts.json")).expect("written");
    let record: Value = serde_json::from_slice(&record).expect("JSON");
    assert_eq!(record["train"]["census"]["kept"], 2);
    assert_eq!(record["train"]["files"][1]["path"], "b.jsonl");

    let error = fail(
        here,
        &[
            "doctor",
            "run.toml",
            "--set",
            "world.prompts.on_bad_row=fail",
        ],
    );
    assert!(
        error.contains("`a.jsonl` line 2: no column `prompt`"),
        "{error}"
    );
    let error = fail(
        here,
        &["doctor", "run.toml", "--set", "world.prompts.max_chars=2"],
    );
    assert!(
        error.contains("no prompt has at least 3 and at most 2 characters"),
        "{error}"
    );
    let missing = "world.prompts.train=[\"a.jsonl\", \"c.jsonl\"]";
    let error = fail(
        here,
        &["train", "run.toml", "--set", "name=other", "--set", missing],
    );
    assert!(
        error.contains("world.prompts.train.1") && error.contains("c.jsonl"),
        "{error}"
    );
}

#[test]
fn a_run_does_not_go_on_with_other_prompts() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    configure(
        here,
        "train = [\"a.txt\", \"b.txt\"]\nvalidation = \"prompts.txt\"",
    );
    fs::write(here.join("a.txt"), "a red cat\ntwo boats\n").expect("writable");
    fs::write(here.join("b.txt"), "a dog\n").expect("writable");
    succeed(here, &["train", "run.toml"]);
    let resume = ["train", "run.toml", "--resume"];
    // White space around prompts is not part of them.
    fs::write(here.join("a.txt"), "a red cat \r\ntwo boats").expect("writable");
    succeed(here, &resume);
    fs::write(here.join("b.txt"), "a dog\na cow\n").expect("writable");
    let shards = || {
        let folders = fs::read_dir(here.join("cache")).expect("there");
        let folders = folders.map(|folder| folder.expect("readable").path());
        let files = folders.flat_map(|folder| fs::read_dir(folder).expect("readable"));
        files.count()
    };
    let before = shards();
    let error = fail(here, &resume);
    assert!(
        error.contains("`b.txt` (key `world.prompts.train`) no longer holds the prompts")
            && error.contains("put the old file back"),
        "{error}"
    );
    assert_eq!(shards(), before, "nothing was encoded");
    fs::write(here.join("b.txt"), "a dog\n").expect("writable");
    fs::write(here.join("prompts.txt"), "a cow\n").expect("writable");
    let error = fail(here, &resume);
    assert!(error.contains("world.prompts.validation"), "{error}");
    // A run of an earlier version kept no record; it gets one.
    fs::remove_file(here.join("runs/tiny/prompts.json")).expect("there");
    succeed(here, &resume);
    assert!(here.join("runs/tiny/prompts.json").is_file());
}
