//! Killed at any moment, resumed to the same numbers.

mod common;

use std::{
    fs,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use common::{dmdr, succeed, workspace};

/// A run of 12 updates over cold start and joint stage that writes a checkpoint after every update. GRPO with a
/// reference, taken in the middle of the run, has the most state of all algorithms; the guard halves its weight when
/// tiny networks get nothing right.
fn arguments(root: &str) -> Vec<String> {
    let mut arguments: Vec<String> = ["train", "configs/smoke.toml", "--root", root]
        .map(str::to_owned)
        .to_vec();
    for set in [
        "method.dmdr.num_updates=12",
        "method.dmdr.rl.weight={ step = { from = 0.0, to = 0.3, at = 4 } }",
        "method.dmdr.rl.algorithm={ grpo = { kl = 0.1, groups = { num_prompts = 1, size = 2 }, num_inner_updates = 2 } }",
        "events.checkpoint_every=1",
        "events.sample_every=5",
        "events.evaluate_every=2",
        "guard={ metric = \"geneval\", patience = 2, action = { lower_rl = 0.5 } }",
    ] {
        arguments.extend(["--set".to_owned(), set.to_owned()]);
    }
    arguments
}

fn weights(root: &Path) -> Vec<u8> {
    fs::read(root.join("smoke/student.safetensors")).expect("a finished student")
}

/// Every number a run logged, without clocks.
fn numbers(root: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(root.join("smoke/metrics.jsonl")).expect("records");
    text.lines()
        .map(|line| {
            let mut record: serde_json::Value = serde_json::from_str(line).expect("whole lines");
            record.as_object_mut().expect("a record").remove("wall_s");
            record["values"]
                .as_object_mut()
                .expect("values")
                .remove("time/update_s");
            record
        })
        .collect()
}

fn checkpoints(root: &Path) -> usize {
    let whole = |entry: &fs::DirEntry| !entry.file_name().to_string_lossy().starts_with('.');
    fs::read_dir(root.join("smoke/checkpoints"))
        .map_or(0, |entries| entries.flatten().filter(whole).count())
}

/// The weight file carries its command line, which differs between a straight and a resumed run: compare tensors.
fn tensors(file: &[u8]) -> &[u8] {
    let header = u64::from_le_bytes(file[..8].try_into().expect("8 bytes"));
    &file[8 + usize::try_from(header).expect("a small header")..]
}

#[test]
fn killed_again_and_again_it_ends_with_the_same_numbers() {
    let here = workspace();
    let straight = arguments("straight");
    succeed(
        here,
        &straight.iter().map(String::as_str).collect::<Vec<_>>(),
    );

    let root = here.join("killed");
    let mut resume = false;
    let mut kills = 0;
    loop {
        let mut arguments = arguments("killed");
        if resume {
            arguments.push("--resume".into());
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut child = dmdr(here, &arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        // Checkpoints are written after every update, so a kill at a random moment often hits one half-written.
        let before = checkpoints(&root);
        let started = Instant::now();
        let patience = Duration::from_millis(170 * kills);
        let finished = loop {
            if let Some(status) = child.try_wait().expect("our child") {
                break Some(status);
            }
            // The first kill comes before the first checkpoint, if it can.
            let is_time = if kills == 0 {
                root.join("smoke/checkpoints").exists()
            } else {
                checkpoints(&root) > before || before > 0
            };
            if kills < 6 && is_time && started.elapsed() > patience {
                child.kill().expect("our child"); // SIGKILL
                child.wait().expect("our child");
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        match finished {
            Some(status) => {
                let output = child.wait_with_output().expect("our child");
                assert!(
                    status.success(),
                    "{}",
                    String::from_utf8_lossy(&output.stderr)
                );
                break;
            }
            None => kills += 1,
        }
        resume = true;
    }
    assert!(kills >= 2, "the run was too quick to be killed");
    assert_eq!(
        tensors(&weights(&root)),
        tensors(&weights(&here.join("straight")))
    );
    assert_eq!(numbers(&root), numbers(&here.join("straight")));
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_a_checkpoint_and_exits_with_130() {
    let here = workspace();
    let mut arguments = arguments("interrupted");
    arguments.extend([
        "--set".to_owned(),
        "method.dmdr.num_updates=4000".to_owned(),
    ]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = dmdr(here, &arguments).spawn().expect("the binary starts");
    let root = here.join("interrupted");
    while checkpoints(&root) == 0 {
        assert!(
            child.try_wait().expect("our child").is_none(),
            "it ended by itself"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    let status = std::process::Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .expect("kill is there");
    assert!(status.success());
    assert_eq!(child.wait().expect("our child").code(), Some(130));
    let leftovers = fs::read_dir(root.join("smoke/checkpoints"))
        .expect("checkpoints")
        .filter(|entry| {
            entry
                .as_ref()
                .expect("readable")
                .file_name()
                .to_string_lossy()
                .starts_with('.')
        })
        .count();
    assert_eq!(leftovers, 0, "a clean stop leaves nothing half-written");
    assert!(!root.join("smoke/student.safetensors").exists());
}
