//! `[memory]` and shares of blocks that are computed again: where weights wait changes no number, 8 bits change few.

mod common;

use std::{fs, path::Path};

use common::{
    dmdr,
    metrics::{Numbers, numbers},
    pipeline, succeed,
};
use tempfile::TempDir;

const REWARD: &str = r#"
[method.dmdr.rl]
weight = 0.1
algorithm = "refl"
[[rewards]]
[rewards.model.clip]
checkpoint = "dfn_h14"
weights = "base/clip"
tokenizer = "base/clip-tokenizer"
"#;

/// Four updates of a tiny SD3 with a reward on what its autoencoder decodes.
fn run() -> TempDir {
    let dir = pipeline::tiny_run();
    let path = dir.path().join("run.toml");
    let text = fs::read_to_string(&path).expect("written");
    let text = text.replace("num_updates = 1", "num_updates = 4");
    fs::write(path, text + REWARD).expect("writable");
    dir
}

fn trained(here: &Path, name: &str, sets: &[&str]) -> Numbers {
    let name = format!("name={name}");
    let mut arguments = vec![
        "train",
        "run.toml",
        "--set",
        &name,
        "--set",
        "precision=f32",
    ];
    for set in sets {
        arguments.extend(["--set", set]);
    }
    succeed(here, &arguments);
    let run = here.join("runs").join(name.trim_start_matches("name="));
    numbers(&run)
}

/// What the doctor says of the run with a transformer of 66 million parameters and DFN's towers, by their shapes.
fn plan(here: &Path, more: &[&str]) -> String {
    let path = here.join("base/transformer/config.json");
    let text = fs::read_to_string(&path).expect("written");
    let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for (key, value) in [
        ("num_layers", 4),
        ("num_attention_heads", 8),
        ("attention_head_dim", 64),
        ("caption_projection_dim", 512),
    ] {
        config[key] = value.into();
    }
    fs::write(path, config.to_string()).expect("writable");
    let mut arguments = vec!["doctor", "run.toml", "--random-weights", "--memory", "24"];
    arguments.extend(["--set", "device=cuda", "--set", "precision=bf16"]);
    arguments.extend(["--set", "rewards.0.model.clip.weights=\"none.safetensors\""]);
    arguments.extend(["--set", "student.tuning.lora.rank=64"]);
    arguments.extend(more);
    let output = dmdr(here, &arguments).output().expect("it starts");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The mebibytes of a line of it.
fn mebibytes(plan: &str, line: &str) -> f64 {
    let found = plan.lines().find_map(|found| {
        let mut words = found.trim().strip_prefix(line)?.split_whitespace();
        let number: f64 = words.next()?.parse().ok()?;
        Some(number * if words.next()? == "GiB" { 1024.0 } else { 1.0 })
    });
    found.unwrap_or_else(|| panic!("no `{line}` in {plan}"))
}

#[test]
fn where_weights_wait_changes_no_number() {
    let dir = run();
    let here = dir.path();
    let plain = trained(here, "plain", &[]);
    assert!(plain.contains_key(&(3, "loss/rl".to_owned())), "{plain:?}");
    let moved = ["memory.base_on_host=true", "memory.rewards_on_host=true"];
    assert_eq!(trained(here, "moved", &moved), plain);
    // One process has all that it shares.
    let shared = ["memory.shard_base=true", "memory.shard_moments=true"];
    assert_eq!(trained(here, "shared", &shared), plain);
}

#[test]
fn computing_some_blocks_again_changes_rounding_alone() {
    let dir = run();
    let here = dir.path();
    let plain = trained(here, "plain", &[]);
    for share in ["0.5", "true"] {
        let set = format!("gradient_checkpointing={share}");
        let found = trained(here, &format!("again-{share}"), &[&set]);
        for (key, value) in &plain {
            let error = (found[key] - value).abs();
            assert!(error <= 1e-5 * value.abs().max(1.0), "{key:?}: {error}");
        }
    }
    // A run may go on with another share.
    let run = here.join("runs/plain");
    for name in ["student.safetensors", "fake-score.safetensors"] {
        fs::remove_file(run.join(name)).expect("written");
    }
    let again = ["--set", "gradient_checkpointing=0.5", "--resume"];
    let sets = [
        "train",
        "run.toml",
        "--set",
        "name=plain",
        "--set",
        "precision=f32",
    ];
    succeed(here, &[&sets[..], &again].concat());
}

#[test]
fn eight_bits_move_what_is_logged_by_a_hundredth() {
    let dir = run();
    let here = dir.path();
    let plain = trained(here, "plain", &[]);
    let bits = trained(here, "bits", &["memory.base_in_8_bits=true"]);
    assert_ne!(plain, bits);
    for name in ["loss/fake_score", "loss/dm", "loss/rl"] {
        let key = (0, name.to_owned());
        let error = (bits[&key] - plain[&key]).abs();
        assert!(
            error <= 0.01 * plain[&key].abs(),
            "{name}: {error} of {}",
            plain[&key]
        );
    }
    // A run keeps its bits.
    let text = common::fail(
        here,
        &[
            "train",
            "run.toml",
            "--resume",
            "--set",
            "name=bits",
            "--set",
            "precision=f32",
        ],
    );
    assert!(text.contains("memory.base_in_8_bits"), "{text}");
}

#[test]
fn the_doctor_counts_what_waits_elsewhere() {
    let dir = run();
    let of = |line: &str, more: &[&str]| mebibytes(&plan(dir.path(), more), line);
    let teacher = |more: &[&str]| of("teacher", more);
    let plain = teacher(&[]);
    // Biases, norms and what makes the first tokens stay as they are.
    let bits = teacher(&["--set", "memory.base_in_8_bits=true"]);
    assert!((0.25..0.55).contains(&(bits / plain)), "{bits} of {plain}");
    let on_host = teacher(&["--set", "memory.base_on_host=true"]);
    assert!(on_host < 0.2 * plain, "{on_host} of {plain}");
    let shared = ["--set", "memory.shard_base=true", "--processes", "4"];
    let of_four = teacher(&shared) - on_host;
    let all = plain - on_host;
    assert!((of_four / all - 0.25).abs() < 0.02, "{of_four} of {all}");

    // Where the host computes, there is no other place.
    let on_cpu = ["--set", "device=cpu", "--set", "memory.base_on_host=true"];
    assert!(teacher(&on_cpu) >= plain, "{plain}");

    let rewards = |more: &[&str]| of("rewards and metrics", more);
    let (here, moved) = (
        rewards(&[]),
        rewards(&["--set", "memory.rewards_on_host=true"]),
    );
    assert!(here > 1500.0 && moved < 0.2 * here, "{moved} of {here}");

    let moments = |more: &[&str]| of("student's moments", more);
    let divided = ["--set", "memory.shard_moments=true", "--processes", "4"];
    let ratio = moments(&divided) / moments(&[]);
    assert!((0.2..0.35).contains(&ratio), "{ratio}");
}

#[test]
fn the_doctor_finds_what_fits() {
    let dir = run();
    let here = dir.path();
    let all = mebibytes(&plan(here, &[]), "at most");
    let fitted = |mebibytes: f64| {
        let gib = format!("{}", mebibytes / 1024.0);
        let mut arguments = vec!["doctor", "run.toml", "--random-weights", "--fit", &gib];
        arguments.extend(["--set", "device=cuda"]);
        arguments.extend(["--set", "precision=bf16"]);
        arguments.extend(["--set", "rewards.0.model.clip.weights=\"none.safetensors\""]);
        let output = dmdr(here, &arguments).output().expect("it starts");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        (output.status.success(), text)
    };
    let (fits, text) = fitted(all * 1.01);
    assert!(fits && text.ends_with("  as it is\n"), "{text}");
    let (fits, text) = fitted(all / 4.0);
    assert!(fits, "{text}");
    let sets = text
        .lines()
        .filter_map(|line| line.strip_prefix("  --set "));
    let sets: Vec<&str> = sets.flat_map(|set| ["--set", set]).collect();
    assert!(sets.contains(&"memory.rewards_on_host=true"), "{text}");
    let again = mebibytes(&plan(here, &sets), "at most");
    assert!(again <= all / 4.0 + 0.1, "{again} of {all}");
    let (fits, text) = fitted(1.0);
    assert!(!fits && text.contains("does not fit into"), "{text}");
}
