//! Several processes train as one would on all their batches: two on this machine, over Gloo.

mod common;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use common::metrics::numbers;

/// With the models of the emoji world: rewards of networks that know nothing hardly differ, and GRPO divides by how much.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Nothing that only watches, a checkpoint every other update, and numbers that rounding hardly moves.
const QUIET: [&str; 5] = [
    "precision=f32",
    "events.sample_every=0",
    "events.evaluate_every=0",
    "events.checkpoint_every=2",
    "events.keep_checkpoints=9",
];

/// A port that nobody listens at.
fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

/// `dmdr train` on the smoke run as process `rank` of `ranks`, which meet at `port`.
fn start(
    root: &Path,
    sets: &[&str],
    more: &[&str],
    (rank, ranks, port): (usize, usize, u16),
) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dmdr"));
    command.current_dir(ROOT);
    command
        .args(["--quiet", "train", "configs/smoke.toml", "--root"])
        .arg(root);
    for set in QUIET.iter().chain(sets) {
        command.args(["--set", set]);
    }
    command.args(more);
    // Each has a thread, as torchrun would have it.
    command
        .env("OMP_NUM_THREADS", "1")
        .env("OMP_WAIT_POLICY", "passive");
    if ranks > 1 {
        let values = [
            ("RANK", rank.to_string()),
            ("WORLD_SIZE", ranks.to_string()),
            ("LOCAL_RANK", rank.to_string()),
            ("MASTER_ADDR", "127.0.0.1".to_owned()),
            ("MASTER_PORT", port.to_string()),
        ];
        command.envs(values);
    }
    let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("it starts")
}

fn ended(child: Child) -> Output {
    child.wait_with_output().expect("it ends")
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Runs them to their end.
fn train(root: &Path, ranks: usize, sets: &[&str], more: &[&str]) {
    let port = port();
    let children: Vec<Child> = (0..ranks)
        .map(|rank| start(root, sets, more, (rank, ranks, port)))
        .collect();
    for child in children {
        let output = ended(child);
        assert!(output.status.success(), "{}", words(&output));
    }
}

/// That both runs logged the same but for rounding.
#[track_caller]
fn same(one: &Path, other: &Path) {
    let (one, other) = (numbers(one), numbers(other));
    assert_eq!(one.len(), other.len());
    for (key, value) in &one {
        let error = (value - other[key]).abs();
        // Of numbers that nearly cancel, a part of what is added.
        assert!(
            error <= 1e-5 * value.abs().max(1.0),
            "{key:?}: {value} {}",
            other[key]
        );
    }
}

const DPO: &str =
    "method.dmdr.rl.algorithm={ dpo = { groups = { num_prompts = 2, size = 3 }, beta = 10.0 } }";
const GRPO: &str = "method.dmdr.rl.algorithm={ grpo = { groups = { num_prompts = 2, size = 3 } } }";

#[test]
fn two_processes_are_one_with_twice_the_batch() {
    let dir = tempfile::tempdir().expect("temp dir");
    for (name, algorithm) in [("refl", None), ("dpo", Some(DPO)), ("grpo", Some(GRPO))] {
        let root = dir.path();
        let sets = |name: &str, more: &[&str], ranks| {
            let name = format!("name={name}");
            let mut sets = vec![name.as_str()];
            sets.extend(algorithm);
            sets.extend(more);
            train(root, ranks, &sets, &[]);
        };
        let whole = "method.dmdr.batch_size=4";
        let groups = match name {
            "refl" => None,
            "dpo" => Some("method.dmdr.rl.algorithm.dpo.groups.num_prompts=4"),
            _ => Some("method.dmdr.rl.algorithm.grpo.groups.num_prompts=4"),
        };
        let (one, two) = (format!("{name}-one"), format!("{name}-two"));
        let whole: Vec<&str> = [Some(whole), groups].into_iter().flatten().collect();
        sets(&one, &whole, 1);
        sets(&two, &[], 2);
        same(&root.join(&one), &root.join(&two));
    }
}

#[test]
fn a_run_goes_on_with_another_number_of_processes() {
    let dir = tempfile::tempdir().expect("temp dir");
    let root = dir.path();
    train(root, 2, &["name=whole"], &[]);
    // A checkpoint after update 2 of two processes, after 4 of one, and the rest by two.
    let back_to = |update: u64| {
        let run = root.join("parts");
        for later in (update + 1)..=6 {
            let folder = run.join(format!("checkpoints/update-{later:06}"));
            if folder.exists() {
                fs::remove_dir_all(folder).expect("there");
            }
        }
        fs::remove_file(run.join("student.safetensors")).expect("there");
    };
    train(root, 2, &["name=parts"], &[]);
    back_to(2);
    train(root, 1, &["name=parts"], &["--resume"]);
    back_to(4);
    train(root, 2, &["name=parts"], &["--resume"]);
    same(&root.join("whole"), &root.join("parts"));

    // Three cannot share two batches.
    let port = port();
    let children: Vec<Child> = (0..3)
        .map(|rank| {
            start(
                root,
                &["name=parts"],
                &["--resume", "--timeout", "20"],
                (rank, 3, port),
            )
        })
        .collect();
    let outputs: Vec<Output> = children.into_iter().map(ended).collect();
    assert!(outputs.iter().all(|output| !output.status.success()));
    let told = words(&outputs[0]);
    assert!(
        told.contains("takes 2 batches together, which 3 processes cannot share"),
        "{told}"
    );
}

/// The numbers of a weight file, without its header, which tells the command.
fn weights(path: &Path) -> Vec<u8> {
    let file = fs::read(path).expect("written");
    let header = u64::from_le_bytes(file[..8].try_into().expect("8 bytes"));
    file[8 + usize::try_from(header).expect("a small header")..].to_vec()
}

#[test]
fn divided_moments_are_the_moments() {
    let dir = tempfile::tempdir().expect("temp dir");
    let root = dir.path();
    train(root, 2, &["name=plain"], &[]);
    train(root, 2, &["name=divided", "memory.shard_moments=true"], &[]);
    let file = |run: &str, name: &str| weights(&root.join(run).join(name));
    let checkpoint = |name: &str| format!("checkpoints/update-000006/{name}.safetensors");
    assert_eq!(
        file("plain", "student.safetensors"),
        file("divided", "student.safetensors")
    );
    for part in ["student", "optim.student", "optim.fake_score"] {
        let part = checkpoint(part);
        assert_eq!(file("plain", &part), file("divided", &part), "{part}");
    }
    // One process goes on where two had a part of the moments each.
    for later in [4, 6] {
        let folder = root.join(format!("divided/checkpoints/update-{later:06}"));
        fs::remove_dir_all(folder).expect("there");
    }
    fs::remove_file(root.join("divided/student.safetensors")).expect("there");
    train(root, 1, &["name=divided"], &["--resume"]);
    same(&root.join("plain"), &root.join("divided"));
}

/// The first process draws and measures with weights of which it has a half.
#[test]
fn a_divided_base_is_the_base() {
    let dir = tempfile::tempdir().expect("temp dir");
    let root = dir.path();
    let adapter = "student.tuning={ lora = { rank = 4, alpha = 4.0, targets = [\"blocks.*\"] } }";
    for (name, algorithm) in [("refl", None), ("dpo", Some(DPO)), ("grpo", Some(GRPO))] {
        let train = |name: &str, more: &[&str]| {
            let name = format!("name={name}");
            let mut sets = vec![name.as_str(), adapter, "events.sample_every=6"];
            sets.push("events.evaluate_every=3");
            sets.extend(algorithm);
            sets.extend(more);
            train(root, 2, &sets, &[]);
        };
        let (plain, divided) = (format!("{name}-plain"), format!("{name}-divided"));
        train(&plain, &[]);
        train(&divided, &["memory.shard_base=true"]);
        same(&root.join(&plain), &root.join(&divided));
        let files =
            [&plain, &divided].map(|run| weights(&root.join(run).join("student.safetensors")));
        assert!(files[0] == files[1], "{name}: the same student");
    }
}

#[test]
fn who_is_lost_is_named_and_ends_the_others() {
    let dir = tempfile::tempdir().expect("temp dir");
    let endless = ["name=lost", "method.dmdr.num_updates=100000"];
    let port = port();
    let mut children: Vec<Child> = (0..2)
        .map(|rank| start(dir.path(), &endless, &["--timeout", "60"], (rank, 2, port)))
        .collect();
    let metrics = dir.path().join("lost/metrics.jsonl");
    let started = Instant::now();
    while !fs::read_to_string(&metrics).is_ok_and(|text| text.lines().count() >= 2) {
        assert!(started.elapsed() < Duration::from_secs(300), "it trains");
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut second = children.pop().expect("two");
    second.kill().expect("it lives");
    let _ = second.wait();
    let output = ended(children.pop().expect("the first"));
    assert!(!output.status.success());
    let told = words(&output);
    assert!(
        told.contains("process 0 of 2 cannot go on: process 1 of 2 (pid "),
        "{told}"
    );
    assert!(told.contains("is gone"), "{told}");
}

#[test]
fn who_does_not_come_to_the_start_is_waited_for_and_told() {
    let dir = tempfile::tempdir().expect("temp dir");
    let port = port();
    let alone = start(
        dir.path(),
        &["name=apart"],
        &["--timeout", "2"],
        (0, 2, port),
    );
    let told = words(&ended(alone));
    let expected = format!("the 2 processes did not meet at 127.0.0.1:{port} within 2 s");
    assert!(told.contains(&expected), "{told}");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let late = start(
        dir.path(),
        &["name=late"],
        &["--timeout", "2"],
        (0, 2, port),
    );
    let told = words(&ended(late));
    assert!(told.contains("set another `MASTER_PORT`"), "{told}");
}

#[test]
fn variables_of_a_launcher_that_do_not_fit_are_named() {
    let output = Command::new(env!("CARGO_BIN_EXE_dmdr"))
        .current_dir(ROOT)
        .args(["train", "configs/smoke.toml"])
        .env("RANK", "0")
        .output()
        .expect("it starts");
    assert!(!output.status.success());
    let told = words(&output);
    assert!(
        told.contains("`RANK` is set, but `WORLD_SIZE` is not"),
        "{told}"
    );
}
