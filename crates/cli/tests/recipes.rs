//! The recipes of published models as they are shipped, on tiny models and rewards of the same families: an update of the
//! cold start, an update of the joint stage, sample sheets, a checkpoint.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use common::{pipeline, succeed};
use dmdr_config::Experiment;
use dmdr_events::OwnedRun;
use dmdr_tensor::{Device, Meter, Runtime, read_metadata, read_tensors};
use dmdr_train::{Assembly, Distillation, Rehearsal, Silent};
use tempfile::TempDir;

fn recipe(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../configs/{name}.toml"))
}

/// Runs the recipe `name` on what `make` puts into `base/`, with `sets` for what the tiny model cannot have as it is.
fn takes_updates(name: &str, make: fn(&Path), sets: &[&str], scratch: u64) -> TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    let here = dir.path();
    fs::create_dir(here.join("base")).expect("writable");
    make(&here.join("base"));
    pipeline::lpips(&here.join("base"));
    fs::write(here.join("train.txt"), "a red cat\ntwo boats\n").expect("writable");
    fs::write(here.join("validation.txt"), "a blue dog\n").expect("writable");
    let common = [
        "device=cpu",
        "teacher.num_steps=2",
        "method.dmdr.num_updates=2",
        "method.dmdr.batch_size=4",
        "method.dmdr.ttur=2",
        "method.dmdr.rl.weight={ step = { from = 0.0, to = 1.0, at = 1 } }",
        "events.sample_every=2",
        "events.num_sample_prompts=1",
        "events.evaluate_every=1",
        "evaluation.diversity.features=base/alexnet.safetensors",
        "evaluation.diversity.linear=base/alex.safetensors",
        "evaluation.diversity.size=64",
    ];
    let file = recipe(name);
    let sets: Vec<&str> = common.iter().chain(sets).copied().collect();
    let mut arguments = vec![file.to_str().expect("UTF-8")];
    for set in &sets {
        arguments.extend(["--set", set]);
    }
    let doctor = succeed(here, &[&["doctor"], &arguments[..]].concat());
    let plan = String::from_utf8(doctor.stdout).expect("text");
    assert!(plan.ends_with("ready to train\n"), "{plan}");
    assert!(!here.join("cache").exists(), "nothing is written");
    succeed(here, &[&["train"], &arguments[..]].concat());
    is_rehearsed(&file, here, &sets, scratch);
    let run = here.join("runs").join(name);
    let student = read_tensors(&run.join("student.safetensors")).expect("finished");
    for (name, tensor) in &student {
        // Nobody reads what the last block of SD3 asks about text.
        let is_idle =
            !name.ends_with("lora_B.weight") || name.ends_with("2.attn.add_q_proj.lora_B.weight");
        let largest = tensor.abs().max().double_value(&[]);
        assert!(is_idle || largest > 0.0, "{name} was not trained");
    }
    assert!(run.join("samples/update-000002.png").is_file());
    dir
}

/// `dmdr doctor` knows what an update takes: libtorch's own count of the CPU's tensors agrees, but for `scratch` bytes
/// within its kernels.
fn is_rehearsed(recipe: &Path, here: &Path, sets: &[&str], scratch: u64) {
    let places = ["=base", "=train.txt", "=validation.txt", "=cache"];
    let absolute = |set: &str| {
        places.iter().fold(set.to_owned(), |set, place| {
            set.replace(place, &format!("={}/{}", here.display(), &place[1..]))
        })
    };
    let mut sets: Vec<String> = sets.iter().map(|set| absolute(set)).collect();
    // Only updates are rehearsed, though all is loaded; beside tiny models AlexNet, while it is read, outweighs an update.
    let sole = [
        "events.sample_every=0",
        "events.evaluate_every=3",
        "evaluation.diversity=",
        "method.dmdr.ttur=1",
    ];
    sets.extend(sole.map(str::to_owned));
    for recomputes in [false, true] {
        sets.push(format!("gradient_checkpointing={recomputes}"));
        let experiment = Experiment::load(recipe, &sets).expect("a config");
        let expected = {
            let runs = here.join("measured");
            let run = OwnedRun::create(&runs, &format!("{recomputes}")).expect("writable");
            let meter = Meter::start();
            let mut distillation = Distillation::new(&experiment).expect("loads");
            distillation
                .run(&run, false, &BTreeMap::new(), &mut Silent)
                .expect("finite");
            meter.peak_bytes()
        };
        // The prompts are in the cache by now.
        let runtime = Runtime::on(Device::Cpu, experiment.precision);
        let plan = Rehearsal::of(&Assembly::of(&experiment, runtime)).expect("fits");
        let found = plan.num_resident() + plan.update;
        let difference = found.abs_diff(expected).saturating_sub(scratch);
        assert!(
            difference as f64 <= 0.15 * expected as f64,
            "{found} of {expected}"
        );
    }
}

/// The values of `key` in a run's metrics.
fn metrics(dir: &TempDir, name: &str, key: &str) -> Vec<f64> {
    let path = dir.path().join("runs").join(name).join("metrics.jsonl");
    let text = fs::read_to_string(path).expect("written");
    let rows = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    rows.filter_map(|row| row["values"][key].as_f64()).collect()
}

/// The guard of the recipe `name` has seen what it needs, after each update.
fn is_watched(dir: &TempDir, name: &str, all: &[&str]) {
    for metric in all {
        let seen = metrics(dir, name, metric);
        assert_eq!(seen.len(), 2, "{name}: {metric}");
    }
    let best = dir.path().join("runs").join(name).join("best.safetensors");
    assert!(best.is_file(), "of the joint update");
}

/// A recipe of text and images, whose rewards are CLIP's and HPSv2's; `own` is what this one needs besides.
fn of_text(name: &str, make: fn(&Path), own: &[&str]) -> TempDir {
    let shared = [
        "world.prompts.train=train.txt",
        "world.prompts.validation=validation.txt",
        "world.prompts.size=24",
        "world.prompts.embeddings=cache/embeddings",
        "teacher.weights=base",
        "fake_score.rank=2",
        "rewards.0.model.clip.weights=base/clip",
        "rewards.0.model.clip.tokenizer=base/clip-tokenizer",
        "rewards.1.model.hps.weights=base/clip",
        "rewards.1.model.hps.tokenizer=base/clip-tokenizer",
        "evaluation.detectors=[\"saturation\", \"high_frequency\"]",
        "evaluation.metrics.0.model.pick_score.weights=base/clip",
        "evaluation.metrics.0.model.pick_score.tokenizer=base/clip-tokenizer",
    ];
    let dir = takes_updates(name, make, &[&shared[..], own].concat(), 0);
    is_watched(&dir, name, &["pick_score", "saturation", "diversity"]);
    for reward in ["clip", "hps"] {
        let seen = metrics(&dir, name, &format!("reward/{reward}/mean"));
        assert_eq!(seen.len(), 1, "{name}: of the joint update alone");
        assert!(seen[0].abs() <= 1.0, "{name}: a cosine, {seen:?}");
    }
    // The hinge is the loss: of both rewards, over weights that are equal.
    let raw = |reward| metrics(&dir, name, &format!("reward/{reward}/max"))[0];
    assert!(raw("clip") < 0.7 && raw("hps") < 0.7, "below the hinge");
    let mean = |reward| metrics(&dir, name, &format!("reward/{reward}/mean"))[0];
    let file = Experiment::load(recipe(name), &[]).expect("a config");
    let weight = file.rewards[0].weight.at(0);
    let expected = weight * (1.4 - mean("clip") - mean("hps"));
    let loss = metrics(&dir, name, "loss/rl");
    assert!(
        (loss[0] - expected).abs() < 1e-4,
        "{name}: {loss:?}, {expected}"
    );
    let guidance = metrics(&dir, name, "dm/guidance");
    let teacher = file.teacher.guidance;
    assert!(
        guidance.len() == 2 && (guidance[0] - guidance[1]).abs() > 1e-9,
        "{guidance:?}"
    );
    assert!(
        guidance.iter().all(|drawn| (drawn - teacher).abs() <= 0.5),
        "{guidance:?}"
    );
    dir
}

const RANK: &str = "student.tuning.lora.rank=2";

#[test]
fn sdxl() {
    of_text(
        "sdxl-dmdr",
        |folder| {
            pipeline::sdxl(folder);
            pipeline::clip(folder);
        },
        &[RANK],
    );
}

/// A whole network that starts from another one, in one step that is told timestep 399.
#[test]
fn sdxl_in_one_step() {
    let name = "sdxl-1step-dmdr";
    let init = "student.init=base/unet/diffusion_pytorch_model.safetensors";
    let dir = of_text(
        name,
        |folder| {
            pipeline::sdxl(folder);
            pipeline::clip(folder);
        },
        &[init],
    );
    let here = dir.path();
    let run = format!("runs/{name}");
    let began = here.join("base/unet/diffusion_pytorch_model.safetensors");
    let began = read_tensors(&began).expect("there");
    let student = read_tensors(&here.join(&run).join("student.safetensors")).expect("finished");
    let moved = student
        .iter()
        .filter(|(name, tensor)| !tensor.equal(&began[*name]))
        .count();
    // Where a tiny network's gradients are below Adam's eps, two steps of 1e-7 are lost in f32.
    assert!(moved * 2 > began.len(), "{moved} of {}", began.len());
    succeed(
        here,
        &["export", &run, "--layout", "diffusers", "--output", "out"],
    );
    let card = fs::read_to_string(here.join("out/README.md")).expect("a card");
    let call = "num_inference_steps=1, guidance_scale=1.0, timesteps=[399]).images";
    assert!(card.contains(call), "{card}");
}

#[test]
fn sd3_medium() {
    let name = "sd3-medium-dmdr";
    let dir = of_text(
        name,
        |folder| {
            pipeline::sd3(folder);
            pipeline::clip(folder);
        },
        &[RANK],
    );
    // T5 reads 128 tokens behind CLIP's 77, and whoever draws with diffusers is told.
    let here = dir.path();
    let mut folders = fs::read_dir(here.join("cache/embeddings")).expect("a cache");
    let folder = folders
        .next()
        .expect("of one rule")
        .expect("readable")
        .path();
    for shard in fs::read_dir(folder).expect("readable") {
        let shard = read_metadata(&shard.expect("readable").path()).expect("a shard");
        assert_eq!(shard["length"], "205");
    }
    let run = format!("runs/{name}");
    succeed(here, &["export", &run, "--output", "out"]);
    let card = fs::read_to_string(here.join("out/README.md")).expect("a card");
    let call = "sigmas=[1.0, 0.75, 0.5, 0.25], max_sequence_length=128).images";
    assert!(card.contains(call), "{card}");
}

#[test]
fn sd35_large() {
    of_text(
        "sd35-large-dmdr",
        |folder| {
            pipeline::sd35(folder);
            pipeline::clip(folder);
        },
        &[RANK],
    );
}

#[test]
fn z_image() {
    of_text(
        "z-image-dmdr",
        |folder| {
            pipeline::z_image(folder);
            pipeline::clip(folder);
        },
        &[RANK],
    );
}

#[test]
fn sit_xl() {
    // oneDNN lays out again what DINOv2's convolution reads and what goes back: four images of 224 pixels each time, as
    // large as all of this tiny network's activations.
    let scratch = 3 * (4 * 3 * 224 * 224 * 4);
    let dir = takes_updates(
        "sit-xl-dmdr",
        |folder| {
            pipeline::sit(folder);
            pipeline::dino(folder);
            let head = |name: &str| folder.join(format!("{name}.safetensors"));
            fs::copy(head("head"), head("held-out")).expect("writable");
        },
        &[
            "teacher.weights=base/network.safetensors",
            "teacher.vae=base/vae",
            "rewards.0.model.dino.tower=base/dino.safetensors",
            "rewards.0.model.dino.head=base/head.safetensors",
            "evaluation.metrics.0.model.dino.tower=base/dino.safetensors",
            "evaluation.metrics.0.model.dino.head=base/held-out.safetensors",
            "evaluation.detectors=[\"saturation\", \"high_frequency\"]",
        ],
        scratch,
    );
    is_watched(
        &dir,
        "sit-xl-dmdr",
        &["dino_b14", "high_frequency", "diversity"],
    );
    let seen = metrics(&dir, "sit-xl-dmdr", "reward/dino/mean");
    assert!(
        seen.len() == 1 && seen[0] < 0.0,
        "a log-probability, {seen:?}"
    );
}
