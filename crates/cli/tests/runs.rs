//! The folder of a run: one owner, the files that it began with, sizes that fit, and nothing left of a start that failed.

mod common;

use std::{
    fs,
    path::Path,
    process::{Child, Stdio},
    time::Duration,
};

use common::{
    dmdr, fail, pipeline,
    server::{Answer, serve},
    succeed, workspace,
};
use dmdr_events::OwnedRun;

/// Ends with the test, however that ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // SIGKILL
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts a command and waits until it has logged a step above `last` in the folder `run`.
    fn start(here: &Path, arguments: &[&str], run: &Path, last: Option<u64>) -> Self {
        let mut command = dmdr(here, arguments);
        let mut running = Self(command.stderr(Stdio::null()).spawn().expect("it starts"));
        while steps(run).last().copied() <= last {
            let ended = running.0.try_wait().expect("our child");
            assert!(ended.is_none(), "it ended by itself");
            std::thread::sleep(Duration::from_millis(20));
        }
        running
    }
}

/// Steps in the order of the log.
fn steps(run: &Path) -> Vec<u64> {
    let log = dmdr_events::read(run.join("metrics.jsonl")).expect("records");
    let train = log
        .iter()
        .filter(|record| record.kind == dmdr_events::Kind::Train);
    train.map(|record| record.update).collect()
}

/// Another process at the run of `arguments` is refused and told the first one, which goes on undisturbed and leaves the
/// folder free when it is killed.
fn has_one_owner(arguments: &[&str], name: &str) {
    let here = workspace();
    let root = format!("owned-{name}");
    let run = here.join(&root).join(name);
    let arguments = &[arguments, &["--root", &root]].concat();
    let resumed = [arguments, &["--resume"][..]].concat();
    let first = Running::start(here, arguments, &run, None);
    let process = format!("process {}", first.0.id());
    let error = fail(here, &resumed);
    for word in ["is in use by", &process, "since", arguments[1]] {
        assert!(error.contains(word), "{word}: {error}");
    }
    // Without `--resume` the folder is taken anyway.
    let error = fail(here, arguments);
    assert!(error.contains("already exists"), "{error}");
    drop(first);
    let logged = steps(&run).last().copied();

    // Killed, it holds nothing any more; its records are those of one writer.
    drop(Running::start(here, &resumed, &run, logged));
    let now = steps(&run);
    let in_order: Vec<u64> = (0..now.len() as u64).collect();
    assert_eq!(now, in_order, "after {logged:?}");
    OwnedRun::open(&run).expect("free");
}

#[test]
fn a_training_has_one_owner() {
    let arguments = [
        "train",
        "configs/smoke.toml",
        "--set",
        "method.dmdr.num_updates=4000",
        "--set",
        "events.checkpoint_every=1",
        "--set",
        "events.log_every=1",
        "--set",
        "events.sample_every=0",
        "--set",
        "events.evaluate_every=0",
    ];
    has_one_owner(&arguments, "smoke");
}

#[test]
fn a_pretraining_has_one_owner() {
    let arguments = [
        "pretrain",
        "configs/teacher-base.toml",
        "--set",
        "num_updates=9000",
        "--set",
        "batch_size=2",
        "--set",
        "events.checkpoint_every=1",
        "--set",
        "events.log_every=1",
        "--set",
        "events.sample_every=0",
    ];
    has_one_owner(&arguments, "teacher-base");
}

/// Changes a byte of the file `path` while `check` looks, and puts the old file back.
fn while_changed(path: &Path, check: impl FnOnce()) {
    let old = fs::read(path).expect("there");
    let mut new = old.clone();
    // Digits stay digits: a changed config is to be readable still.
    let place = new.iter().rposition(u8::is_ascii_digit);
    let place = place.unwrap_or(new.len() - 1);
    new[place] ^= 1;
    fs::write(path, new).expect("writable");
    check();
    fs::write(path, old).expect("writable");
}

#[test]
fn a_run_goes_on_with_the_files_that_it_began_with() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    succeed(here, &["train", "run.toml"]);
    let record = fs::read_to_string(here.join("runs/tiny/inputs.json")).expect("kept");
    assert!(record.contains("\"key\": \"teacher.weights\""), "{record}");
    for file in [
        "transformer/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
        "tokenizer/tokenizer.json",
    ] {
        let path = here.join("base").join(file);
        while_changed(&path, || {
            let error = fail(here, &["train", "run.toml", "--resume"]);
            for word in [file, "teacher.weights", "SHA-256", "student.init"] {
                assert!(error.contains(word), "{file}, {word}: {error}");
            }
        });
    }
    let weights = "transformer/diffusion_pytorch_model.safetensors";
    while_changed(&here.join("base").join(weights), || {
        let error = fail(here, &["sample", "runs/tiny", "--prompt", "a cat"]);
        assert!(error.contains(weights), "{error}");
    });
    fs::create_dir(here.join("base/scheduler")).expect("writable");
    let scheduler = here.join("base/scheduler/scheduler_config.json");
    fs::write(&scheduler, "{\"shift\": 3.0}").expect("writable");
    let error = fail(here, &["train", "run.toml", "--resume"]);
    assert!(error.contains("scheduler_config.json"), "{error}");
    fs::remove_file(&scheduler).expect("there");

    // All is as it was, but for the times of the files.
    succeed(here, &["train", "run.toml", "--resume"]);

    // A run of an earlier version.
    fs::remove_file(here.join("runs/tiny/inputs.json")).expect("there");
    let mut command = dmdr(here, &[]);
    let output = command.args(["train", "run.toml", "--resume"]).output();
    assert!(output.expect("it starts").status.success());
    assert!(here.join("runs/tiny/inputs.json").is_file());
}

#[test]
fn a_pretraining_goes_on_with_the_files_that_it_began_with() {
    let here = workspace();
    let text = here.join("text-encoder-of-its-own.safetensors");
    fs::copy(here.join("assets/text-encoder.safetensors"), &text).expect("writable");
    let set = format!("model.teacher.text_encoder={}", text.display());
    let sets = [
        "pretrain",
        "configs/teacher-base.toml",
        "--root",
        "own",
        "--set",
        "num_updates=1",
        "--set",
        "batch_size=2",
        "--set",
        "events.sample_every=0",
        "--set",
        &set,
    ];
    succeed(here, &sets);
    while_changed(&text, || {
        let error = fail(here, &[&sets[..], &["--resume"]].concat());
        for word in ["text-encoder-of-its-own", "model.teacher.text_encoder"] {
            assert!(error.contains(word), "{error}");
        }
    });
    succeed(here, &[&sets[..], &["--resume"]].concat());
}

#[test]
fn resume_starts_what_is_not_there_and_keeps_what_is() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let begin = [
        "train",
        "run.toml",
        "--resume",
        "--set",
        "events.checkpoint_every=1",
        "--set",
        "method.dmdr.num_updates=3",
    ];
    let output = succeed(here, &begin);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("has nothing to resume: it starts"), "{told}");
    let student = here.join("runs/tiny/student.safetensors");
    let before = fs::read(&student).expect("finished");

    // Without its checkpoints it would begin anew over what it has.
    fs::remove_dir_all(here.join("runs/tiny/checkpoints")).expect("there");
    let error = fail(here, &begin);
    assert!(
        error.contains("updates but no checkpoint of this version"),
        "{error}"
    );
    assert!(fs::read(&student).expect("kept") == before);
}

#[test]
fn a_run_goes_on_with_the_config_that_it_began_with() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    succeed(here, &["train", "run.toml"]);
    let other = [
        "train",
        "run.toml",
        "--resume",
        "--set",
        "optim.fake_score.lr=5e-3",
    ];
    let told = "`optim.fake_score.lr` was 0.01 and is 0.005";
    let error = fail(here, &other);
    assert!(error.contains(told), "{error}");
    assert!(error.contains("runs/tiny/config.toml"), "{error}");
    // Also before there is a checkpoint that could tell.
    fs::remove_dir_all(here.join("runs/tiny/checkpoints")).expect("there");
    let error = fail(here, &other);
    assert!(error.contains(told), "{error}");

    let config = here.join("runs/tiny/config.toml");
    fs::write(&config, "name = ").expect("writable");
    let error = fail(here, &["train", "run.toml", "--resume"]);
    for word in ["runs/tiny/config.toml", "put a whole copy back"] {
        assert!(error.contains(word), "{error}");
    }
    let env = here.join("runs/tiny/env.json");
    fs::write(env, "{").expect("writable");
    let error = fail(here, &["report", "runs/tiny"]);
    for word in ["env.json", "put a whole copy back"] {
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn sizes_that_a_pipeline_cannot_draw_are_refused_with_the_nearest() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let base = here.join("base");
    for (make, cases) in [
        // Latents of a quarter of the side, in patches of two; positions end at six patches.
        (
            pipeline::sd3 as fn(&Path),
            &[
                (25, "a multiple of 8 pixels, at most 48: use 24 or 32"),
                (28, "use 24 or 32"),
                (50, "use 48"),
                (3, "use 8"),
            ][..],
        ),
        // Without patches.
        (
            pipeline::sdxl,
            &[
                (17, "a multiple of 4 pixels: use 16 or 20"),
                (22, "use 20 or 24"),
            ],
        ),
        (
            pipeline::z_image,
            &[(20, "a multiple of 8 pixels, at most 64: use 16 or 24")],
        ),
    ] {
        fs::remove_dir_all(&base).expect("there");
        fs::create_dir(&base).expect("writable");
        make(&base);
        for (size, words) in cases {
            let set = format!("world.prompts.size={size}");
            for command in ["doctor", "train"] {
                let error = fail(here, &[command, "run.toml", "--set", &set]);
                for word in [&format!("`world.prompts.size` is {size}"), *words] {
                    assert!(error.contains(word), "{command}, {word}: {error}");
                }
                assert!(!error.contains("panicked"), "{error}");
            }
        }
        assert!(!here.join("runs").exists(), "nothing is left behind");
        succeed(
            here,
            &["doctor", "run.toml", "--set", "world.prompts.size=16"],
        );
    }
    // Parts of different models.
    fs::remove_dir_all(base.join("vae")).expect("there");
    let other = here.join("other");
    fs::create_dir(&other).expect("writable");
    pipeline::sdxl(&other);
    fs::rename(other.join("vae"), base.join("vae")).expect("movable");
    let error = fail(here, &["doctor", "run.toml"]);
    assert!(error.contains("are of different models"), "{error}");
}

#[test]
fn a_start_that_fails_leaves_no_folder() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    fs::write(here.join("table.csv"), "text\na cat\n").expect("writable");
    let url = serve(|_| Answer {
        status: 410,
        ..Answer::ok("closed")
    });
    let rl = "method.dmdr.rl={ algorithm = { dpo = { groups = { num_prompts = 1, size = 2 } } } }";
    let server = format!("rewards=[{{ model = {{ remote = {{ url = \"{url}\" }} }} }}]");
    let hps = "rewards=[{ model = { hps = { weights = \"none.safetensors\", tokenizer = \"base/tokenizer\" } } }]";
    for (sets, word) in [
        (&["world.prompts.train=none.txt"][..], "none.txt"),
        (&["world.prompts.train=table.csv"], "table.csv"),
        (&["student.init=run.toml"], "run.toml"),
        (&["teacher.weights=base/vae"], "a part of a pipeline"),
        (&["fake_score.targets=[\"zzz\"]"], "zzz"),
        (&["method.dmdr.rl={}", hps], "none.safetensors"),
        // It is asked in the first update, when the folder is there already.
        (&[rl, &server], "410"),
    ] {
        let mut arguments = vec!["train", "run.toml"];
        arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
        let error = fail(here, &arguments);
        assert!(error.contains(word), "{word}: {error}");
        assert!(!error.contains("panicked"), "{error}");
        assert!(!here.join("runs/tiny").exists(), "{sets:?}");
    }
    // A folder that is taken is told before anything is loaded.
    fs::create_dir_all(here.join("runs/tiny")).expect("writable");
    fs::write(here.join("runs/tiny/mine.txt"), "").expect("writable");
    fs::remove_dir_all(here.join("base/text_encoder")).expect("there");
    let error = fail(here, &["train", "run.toml"]);
    assert!(error.contains("is no run folder"), "{error}");
    let error = fail(here, &["train", "run.toml", "--resume"]);
    assert!(here.join("runs/tiny/mine.txt").is_file(), "{error}");
}

/// After hours of training it is too late to say so.
#[test]
fn an_output_that_cannot_be_written_is_told_before_the_training() {
    let here = workspace();
    for (command, config, output, word) in [
        ("train", "smoke", "x.pt", ".safetensors"),
        ("pretrain", "teacher-base", "x.bin", ".safetensors"),
        (
            "train",
            "smoke",
            "nowhere/x.safetensors",
            "there is no folder `nowhere`",
        ),
    ] {
        let config = format!("configs/{config}.toml");
        let error = fail(
            here,
            &[command, &config, "--root", "new", "--output", output],
        );
        assert!(error.contains(output) && error.contains(word), "{error}");
    }
}

#[test]
fn a_run_is_no_place_for_its_own_output_and_all_missing_files_are_named() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    succeed(here, &["train", "run.toml"]);
    let student = "runs/tiny/student.safetensors";
    let own = [
        "train",
        "run.toml",
        "--resume",
        "--overwrite",
        "--output",
        student,
    ];
    let error = fail(here, &own);
    assert!(error.contains("is an input of this command"), "{error}");
    let prompts = ["train", "validation"].map(|key| format!("world.prompts.{key}={key}.gone"));
    let error = fail(
        here,
        &[
            "doctor",
            "run.toml",
            "--set",
            &prompts[0],
            "--set",
            &prompts[1],
        ],
    );
    assert!(
        error.contains("`train.gone`") && error.contains("`validation.gone`"),
        "{error}"
    );
}

/// Folders of other tongues and other encodings hold runs as well.
#[cfg(target_os = "linux")]
#[test]
fn a_path_need_not_be_unicode() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    let dir = pipeline::tiny_run();
    let root = dir.path().join(OsStr::from_bytes(b"l\xe4ufe"));
    let run = root.join("tiny");
    let config = run.join("config.toml");
    let check = |arguments: &[&OsStr]| {
        let mut command = dmdr(dir.path(), &[]);
        common::checked(command.args(arguments))
    };
    let word = OsStr::new;
    check(&[
        word("train"),
        word("run.toml"),
        word("--root"),
        root.as_ref(),
    ]);
    check(&[
        word("train"),
        config.as_ref(),
        word("--root"),
        root.as_ref(),
        word("--resume"),
    ]);
    let picture = root.join("a.png");
    let tensors = root.join("a.safetensors");
    let sample = [
        word("sample"),
        run.as_ref(),
        word("--prompt"),
        word("a cat"),
        word("--count"),
        word("1"),
    ];
    let outputs = [
        word("--images"),
        root.as_ref(),
        word("--output"),
        picture.as_ref(),
        word("--tensors"),
        tensors.as_ref(),
    ];
    check(&[sample, outputs].concat());
    let picture = dmdr_image::Image::from_file(&picture).expect("a picture");
    assert!(picture.width > 24, "teacher and student");
    check(&[word("report"), run.as_ref()]);
    check(&[word("doctor"), config.as_ref()]);
    check(&[word("config"), word("check"), config.as_ref()]);
    check(&[
        word("export"),
        run.as_ref(),
        word("--output"),
        root.join("out").as_ref(),
    ]);
    let prompts = root.join("prompts");
    fs::create_dir(&prompts).expect("writable");
    fs::write(prompts.join("1.txt"), "a red cat").expect("writable");
    let images = root.join("images");
    check(&[
        word("eval"),
        word("dpg"),
        word("--prompts"),
        prompts.as_ref(),
        word("--images"),
        images.as_ref(),
        word("--run"),
        run.as_ref(),
    ]);
    assert!(images.join("1.png").is_file() && images.join("drawn.json").is_file());
}
