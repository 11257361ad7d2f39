//! `dmdr doctor`: what it lists, what does not fit and which switch helps, what is missing, what is probably not meant.

mod common;

use std::{fs, path::Path, process::Command};

use common::{dmdr, fail, pipeline, succeed, workspace};

/// Whether it succeeds, and what it prints.
fn printed(mut command: Command) -> (bool, String) {
    let output = command.output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    (output.status.success(), text)
}

fn doctor(here: &Path, arguments: &[&str]) -> (bool, String) {
    printed(dmdr(here, &[&["doctor", "run.toml"], arguments].concat()))
}

/// The mebibytes on the line that begins with `name`.
fn mebibytes(plan: &str, name: &str) -> f64 {
    let line = plan.lines().find_map(|line| line.trim().strip_prefix(name));
    let words = line.unwrap_or_else(|| panic!("no `{name}` in {plan}"));
    let mut words = words.split_whitespace();
    let number = words.next().expect("a number").parse().expect("a number");
    assert_eq!(words.next(), Some("MiB"));
    number
}

#[test]
fn parts_and_what_does_not_fit() {
    // On the emoji world: there is no text encoder that takes more than an update does.
    let plan_of = |arguments: &[&str]| {
        let smoke = [
            "doctor",
            "configs/smoke.toml",
            "--set",
            "method.dmdr.batch_size=8",
        ];
        let output = dmdr(workspace(), &[&smoke, arguments].concat());
        printed(output)
    };
    let (fits, plan) = plan_of(&[]);
    assert!(fits && plan.ends_with("ready to train\n"), "{plan}");
    let part = |name| mebibytes(&plan, name);
    for name in ["teacher", "student's average", "an update"] {
        assert!(part(name) > 0.0, "{plan}");
    }
    let moments = part("student's moments") / part("student ");
    assert!((moments - 2.0).abs() < 0.1, "{plan}");
    let (peak, half) = (part("at most"), part("batch_size = 4, accumulate = 2"));
    assert!(half < peak, "{plan}");

    // On a device that is elsewhere.
    let (fits, plan) = plan_of(&["--memory", "0.0001"]);
    assert!(!fits && plan.contains("of 0.1 MiB"), "{plan}");
    assert!(
        plan.ends_with("does not fit: use one or more of the switches\n"),
        "{plan}"
    );
    let between = (f64::midpoint(peak, half) / 1024.0).to_string();
    let (fits, plan) = plan_of(&["--memory", &between]);
    let switch = plan.lines().find(|line| line.contains("batch_size = 4"));
    assert!(
        !fits && !switch.expect("a switch").contains("does not fit"),
        "{plan}"
    );
}

#[test]
fn what_is_missing_is_named_with_its_key() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let error = fail(
        here,
        &[
            "doctor",
            "run.toml",
            "--set",
            "world.prompts.train=none.txt",
        ],
    );
    assert!(
        error.contains("world.prompts.train") && error.contains("none.txt"),
        "{error}"
    );
    fs::remove_file(here.join("base/vae/diffusion_pytorch_model.safetensors")).expect("there");
    let error = fail(here, &["doctor", "run.toml"]);
    assert!(error.contains("base/vae"), "{error}");
}

#[test]
fn another_schedule_than_the_pipelines_is_told_or_refused() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let scheduler = here.join("base/scheduler");
    fs::create_dir(&scheduler).expect("writable");
    let write = |text: &str| {
        fs::write(scheduler.join("scheduler_config.json"), text).expect("writable");
    };
    write("{\"shift\": 3.0}");
    let (_, plan) = doctor(here, &[]);
    assert!(
        plan.contains("`teacher.shift` is 1, the scheduler of `base` has 3"),
        "{plan}"
    );
    let (_, plan) = doctor(here, &["--set", "teacher.shift=3"]);
    assert!(!plan.contains("the scheduler of"), "{plan}");
    let output = succeed(here, &["train", "run.toml"]);
    assert!(output.status.success());

    let dir = pipeline::tiny_run();
    let here = dir.path();
    fs::remove_dir_all(here.join("base")).expect("there");
    fs::create_dir_all(here.join("base/scheduler")).expect("writable");
    pipeline::sdxl(&here.join("base"));
    let path = here.join("base/scheduler/scheduler_config.json");
    fs::write(path, "{\"prediction_type\": \"v_prediction\"}").expect("writable");
    let error = fail(here, &["doctor", "run.toml"]);
    assert!(
        error.contains("scheduler_config.json") && error.contains("v_prediction"),
        "{error}"
    );
}

#[test]
fn images_are_decoded_in_tiles_where_they_do_not_fit_whole() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    succeed(here, &["train", "run.toml"]);
    let tiles = [
        "train",
        "run.toml",
        "--set",
        "name=tiles",
        "--set",
        "world.prompts.tile=4",
    ];
    succeed(here, &tiles);
    let picture = |run: &str, output: &str| {
        let sample = [
            "sample",
            run,
            "--prompt",
            "a red cat",
            "--count",
            "1",
            "--output",
            output,
        ];
        succeed(here, &sample);
        dmdr_image::Image::from_file(&here.join(output))
            .expect("a picture")
            .data
    };
    let [whole, tiled] = [
        picture("runs/tiny", "a.png"),
        picture("runs/tiles", "b.png"),
    ];
    let differences = whole.iter().zip(&tiled).map(|(a, b)| (a - b).abs());
    let largest = differences.fold(0.0, f32::max);
    assert!(0.0 < largest && largest < 0.5, "{largest}");
    let error = fail(
        here,
        &["train", "run.toml", "--set", "world.prompts.tile=5"],
    );
    assert!(
        error.contains("tile") && error.contains("a multiple of 4"),
        "{error}"
    );
}

#[test]
fn a_missing_cuda_part_is_told_with_the_places_that_were_looked_at() {
    let here = workspace();
    let nowhere = here.join("nowhere");
    let mut command = dmdr(
        here,
        &["doctor", "configs/smoke.toml", "--set", "device=cuda"],
    );
    let output = command.env("DMDR_TORCH", &nowhere).output();
    let output = output.expect("the binary starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    let place = format!("`DMDR_TORCH`, `{}`, has no `lib/", nowhere.display());
    for word in [
        "device `cuda`",
        "no CUDA part of libtorch 2.11.0",
        &place,
        "make setup-cuda",
    ] {
        assert!(error.contains(word), "{word}: {error}");
    }
}
