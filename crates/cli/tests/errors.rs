//! Every bad input is one clear error before work starts, and nothing is left half-written.

mod common;

use std::{fs, path::Path};

use common::{dmdr, fail, succeed, workspace};

fn train_with(set: &str) -> String {
    fail(
        workspace(),
        &[
            "train",
            "configs/smoke.toml",
            "--root",
            "refused",
            "--set",
            set,
        ],
    )
}

#[test]
fn config_errors_name_the_key() {
    for (set, expected) in [
        ("method.dmdr.tturr=3", "tturr"),
        ("method.dmdr.batch_size=\"many\"", "batch_size"),
        ("student.num_steps=90", "num_steps"),
        ("ema.decay=1.5", "decay"),
        ("method.dmdr.rl=", "rewards"),
    ] {
        let error = train_with(set);
        assert!(error.contains(expected), "{set}: {error}");
        assert!(!error.contains("panicked"), "{error}");
    }
    assert!(!workspace().join("refused").exists(), "nothing was written");
    let error = fail(workspace(), &["train", "configs/none.toml"]);
    assert!(error.contains("configs/none.toml"), "{error}");
    let error = fail(workspace(), &["train", "configs/teacher.toml"]);
    assert!(error.contains("pretrain"), "{error}");
}

#[test]
fn a_config_file_error_points_at_the_line() {
    let here = workspace();
    let text = fs::read_to_string(here.join("configs/smoke.toml")).expect("shipped");
    let text = text.replace("ttur = 2", "ttour = 2");
    fs::write(here.join("configs/typo.toml"), text).expect("writable");
    let error = fail(here, &["config", "check", "configs/typo.toml"]);
    assert!(error.contains("ttour") && error.contains("line"), "{error}");
    assert!(error.contains('^'), "a caret under the key: {error}");
}

/// The message of a training whose weights at `key` are `bytes`.
fn with_weights(name: &str, bytes: &[u8]) -> String {
    let file = workspace().join(format!("assets/{name}.safetensors"));
    fs::write(&file, bytes).expect("writable");
    train_with(&format!("teacher.weights=\"assets/{name}.safetensors\""))
}

#[test]
fn broken_weights_give_one_clear_error() {
    let here = workspace();
    let good = fs::read(here.join("assets/teacher.safetensors")).expect("made");
    let error = with_weights("truncated", &good[..good.len() / 2]);
    assert!(error.contains("truncated.safetensors"), "{error}");
    let error = with_weights("empty", &[]);
    assert!(
        error.contains("empty.safetensors") && error.contains("empty"),
        "{error}"
    );
    let mut header = good.clone();
    header[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = with_weights("header", &header);
    assert!(error.contains("header.safetensors"), "{error}");
    let clip = fs::read(here.join("assets/world-clip.safetensors")).expect("made");
    let error = with_weights("clip", &clip);
    assert!(
        error.contains("dmdr.world-clip") && error.contains("dmdr.dit"),
        "{error}"
    );
    let error = train_with("teacher.weights=\"assets/nowhere.safetensors\"");
    assert!(
        error.contains("teacher.weights") && error.contains("nowhere"),
        "{error}"
    );
    let error = train_with("fake_score.targets=[\"nonsense.*\"]");
    assert!(
        error.contains("nonsense.*") && error.contains("x_embedder"),
        "{error}"
    );
}

#[test]
fn towers_that_read_other_captions_are_refused_before_work_starts() {
    let here = workspace();
    let mut arguments = vec!["pretrain", "configs/text-encoder.toml"];
    arguments.extend(["--output", "assets/longer.safetensors"]);
    for set in [
        "name=longer",
        "num_updates=1",
        "batch_size=2",
        "events.checkpoint_every=0",
        "model.world_clip.dim=16",
        "model.world_clip.text_depth=1",
        "model.world_clip.image_depth=1",
        "model.world_clip.heads=2",
        "model.world_clip.embed_dim=16",
        "model.world_clip.max_tokens=20",
    ] {
        arguments.extend(["--set", set]);
    }
    succeed(here, &arguments);
    for key in ["rewards.0.model.world_clip.weights", "assets.world_clip"] {
        let error = train_with(&format!("{key}=\"assets/longer.safetensors\""));
        let expected = format!("`{key}`: it reads 20 tokens a caption, the text encoder makes 16");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn outputs_that_cannot_be_written_are_refused() {
    let here = workspace();
    fs::write(here.join("file"), "not a folder").expect("writable");
    let error = fail(here, &["train", "configs/smoke.toml", "--root", "file"]);
    assert!(error.contains("file"), "{error}");
    succeed(here, &["train", "configs/smoke.toml", "--root", "twice"]);
    let error = fail(here, &["train", "configs/smoke.toml", "--root", "twice"]);
    assert!(error.contains("--resume"), "{error}");
    let error = fail(here, &["eval", "twice/nothing"]);
    assert!(error.contains("not a run folder"), "{error}");
}

#[test]
fn numbers_of_the_command_line_have_bounds() {
    let here = workspace();
    let seed = u64::MAX.to_string();
    let images = [
        "eval",
        "geneval",
        "--metadata",
        "m",
        "--images",
        "i",
        "--seed",
        &seed,
    ];
    for (arguments, expected) in [
        (
            &["sample", "run", "--seed", &seed][..],
            "9223372036854775807",
        ),
        (&["eval", "run", "--seeds", &seed], "9223372036854775807"),
        (&images, "9223372036854775807"),
        (&["eval", "run", "--num-prompts", "0"], "from 1 to 100000"),
        (
            &["eval", "run", "--num-prompts", "200000"],
            "from 1 to 100000",
        ),
    ] {
        let error = fail(here, arguments);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

/// A file size limit stands in for a full disk: writes fail half-way.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_last_whole_checkpoint() {
    let here = workspace();
    let run = |limit: &str, resume: &str| {
        let binary = dmdr(here, &[]).get_program().to_owned();
        let script = format!(
            "trap '' XFSZ; ulimit -f {limit}; exec \"$0\" --quiet train configs/smoke.toml --root full \
             --set method.dmdr.num_updates=3 --set events.checkpoint_every=1 \
             --set events.sample_every=0 --set events.evaluate_every=0 {resume}"
        );
        std::process::Command::new("bash")
            .current_dir(here)
            .env("OMP_NUM_THREADS", "1")
            .args(["-c", &script])
            .arg(binary)
            .output()
            .expect("bash is there")
    };
    let output = run("16", ""); // 16 KiB: config and metrics fit, weights do not
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    assert!(
        error.contains(".safetensors") && error.lines().count() <= 2,
        "{error}"
    );
    let folder = here.join("full/smoke/checkpoints");
    let whole = fs::read_dir(&folder)
        .expect("made")
        .filter(|entry| !is_hidden(&entry.as_ref().expect("readable").path()))
        .count();
    assert_eq!(whole, 0, "no half-written checkpoint is visible");
}

fn is_hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with('.'))
}
