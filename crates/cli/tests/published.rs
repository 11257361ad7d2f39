//! Published pipelines from end to end, tiny: train, sample, export, import.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{fail, pipeline, succeed, workspace};
use dmdr_tensor::{Tensor, read_tensors};
use tempfile::TempDir;

const PROMPTS: &str = "[world.prompts]\ntrain = \"train.jsonl\"\nvalidation = \"validation.txt\"\ncolumn = \"text\"\n\
                       size = 24\nembeddings = \"cache\"\n\n[teacher]\nweights = \"base\"\n";
const CLASSES: &str = "[world]\nclasses = \"all\"\n\n\
                       [teacher]\nweights = \"base/network.safetensors\"\nvae = \"base/vae\"\n";

/// A folder with `configs/`, a model in `base/` and prompts; `world` begins the config.
fn place(make: fn(&Path), world: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("temp dir");
    fs::create_dir(dir.path().join("base")).expect("writable");
    make(&dir.path().join("base"));
    fs::write(
        dir.path().join("train.jsonl"),
        "{\"text\": \"a red cat\"}\n{\"text\": \"two boats\"}\n{\"text\": \"a ball left of a box\"}\n",
    )
    .expect("writable");
    fs::write(dir.path().join("validation.txt"), "a blue dog\n").expect("writable");
    fs::create_dir(dir.path().join("configs")).expect("writable");
    let smoke = workspace().join("configs/smoke.toml");
    let text = fs::read_to_string(smoke).expect("there");
    // The method of the emoji world's smoke test, on another world, without its rewards and metrics.
    let head = text.find("[world]").expect("there");
    let student = text.find("[student]").expect("there");
    let rewards = text.find("[method.dmdr.rl]").expect("there");
    let optim = text.find("[optim.student]").expect("there");
    let evaluation = text.find("[evaluation]").expect("there");
    let text = [
        &text[..head],
        world,
        "num_steps = 2\nguidance = 3.0\n\n",
        &text[student..rewards],
        &text[optim..evaluation],
    ]
    .concat();
    let text = text
        .replace("evaluate_every = 3", "evaluate_every = 0")
        .replace("seed = 0\n", "seed = 0\nprecision = \"f32\"\n")
        .replace(
            "tuning = \"full\"",
            "tuning = { lora = { rank = 2, alpha = 4.0, targets = [\"*to_q\"] } }",
        )
        .replace("targets = [\"blocks.*\"]", ""); // the fake score's are the network's defaults
    fs::write(dir.path().join("configs/published.toml"), text).expect("writable");
    dir
}

const TRAIN: [&str; 2] = ["train", "configs/published.toml"];

/// The finished student of a root; its file also tells the command, which differs.
fn student(dir: &Path, root: &str) -> BTreeMap<String, Vec<f32>> {
    let path = dir.join(root).join("smoke/student.safetensors");
    let values = |(name, tensor): (String, Tensor)| {
        (
            name,
            Vec::<f32>::try_from(tensor.flatten(0, -1)).expect("f32"),
        )
    };
    read_tensors(&path)
        .expect("finished")
        .into_iter()
        .map(values)
        .collect()
}

/// How far the largest number of the adapters' second halves is from zero, where they start.
fn moved(student: &BTreeMap<String, Vec<f32>>) -> f32 {
    let halves = student
        .iter()
        .filter(|(name, _)| name.ends_with("lora_B.weight"));
    halves
        .flat_map(|(_, values)| values)
        .fold(0.0, |most, value| value.abs().max(most))
}

/// Trains, and again from the cache that is filled by then, to the same student; draws pictures of a prompt that is not in
/// the cache.
fn trains(make: fn(&Path)) -> TempDir {
    let dir = place(make, PROMPTS);
    let here = dir.path();
    let train = |root| succeed(here, &[&TRAIN[..], &["--root", root]].concat());
    train("first");
    train("second");
    assert!(student(here, "first") == student(here, "second"));
    assert!(moved(&student(here, "first")) > 0.0);
    let sample = [
        "sample",
        "first/smoke",
        "--prompt",
        "a green bird",
        "--count",
        "2",
        "--output",
        "grid.png",
    ];
    succeed(here, &sample);
    let picture = || fs::read(here.join("grid.png")).expect("a picture");
    let new = picture();
    succeed(here, &[&sample[..], &["--overwrite"]].concat());
    assert!(picture() == new, "encoding a prompt leaves the noise alone");
    let grid = dmdr_image::Image::from_file(&here.join("grid.png")).expect("a picture");
    assert!(grid.width > 4 * 24 && grid.height > 24);
    dir
}

#[test]
fn sd3_trains_and_is_exported() {
    let dir = trains(pipeline::sd3);
    let here = dir.path();
    for (layout, file) in [
        ("peft", "pytorch_lora_weights.safetensors"),
        ("comfyui", "comfyui_lora.safetensors"),
        (
            "diffusers",
            "transformer/diffusion_pytorch_model.safetensors",
        ),
    ] {
        let output = format!("out-{layout}");
        succeed(
            here,
            &[
                "export",
                "first/smoke",
                "--layout",
                layout,
                "--dtype",
                "f32",
                "--output",
                &output,
            ],
        );
        for file in [file, "scheduler/scheduler_config.json", "README.md"] {
            assert!(here.join(&output).join(file).is_file(), "{layout}: {file}");
        }
    }
    let names =
        read_tensors(&here.join("out-peft/pytorch_lora_weights.safetensors")).expect("tensors");
    assert!(names.contains_key("transformer.transformer_blocks.0.attn.to_q.lora_A.weight"));

    let adapter = "out-comfyui/comfyui_lora.safetensors";
    succeed(
        here,
        &[
            "import",
            "configs/published.toml",
            adapter,
            "--output",
            "start.safetensors",
        ],
    );
    let start = read_tensors(&here.join("start.safetensors")).expect("tensors");
    let trained = read_tensors(&here.join("first/smoke/student.safetensors")).expect("tensors");
    for (name, tensor) in &trained {
        assert!(tensor.allclose(&start[name], 1e-6, 1e-7, false), "{name}");
    }
}

#[test]
fn an_adapter_of_sd35_medium_comes_back_from_comfyui() {
    let dir = place(pipeline::sd35_medium, PROMPTS);
    let here = dir.path();
    let config = here.join("configs/published.toml");
    let text = fs::read_to_string(&config).expect("there");
    let defaults = text.replace(", targets = [\"*to_q\"]", "");
    assert_ne!(text, defaults);
    fs::write(&config, defaults).expect("writable");
    succeed(here, &TRAIN);
    let export = [
        "export",
        "runs/smoke",
        "--layout",
        "comfyui",
        "--dtype",
        "f32",
        "--output",
        "out",
    ];
    succeed(here, &export);
    let adapter = "out/comfyui_lora.safetensors";
    let names = read_tensors(&here.join(adapter)).expect("tensors");
    assert!(names.contains_key("diffusion_model.joint_blocks.1.x_block.attn2.qkv.lora_up.weight"));
    let import = [
        "import",
        "configs/published.toml",
        adapter,
        "--output",
        "start.safetensors",
    ];
    succeed(here, &import);
    let start = read_tensors(&here.join("start.safetensors")).expect("tensors");
    let trained = read_tensors(&here.join("runs/smoke/student.safetensors")).expect("tensors");
    assert!(trained.keys().eq(start.keys()));
    for (name, tensor) in &trained {
        assert!(tensor.allclose(&start[name], 1e-6, 1e-7, false), "{name}");
    }
}

#[test]
fn sdxl_trains() {
    trains(pipeline::sdxl);
}

#[test]
fn z_image_trains() {
    trains(pipeline::z_image);
}

#[test]
fn sit_trains_on_classes() {
    let dir = place(pipeline::sit, CLASSES);
    let here = dir.path();
    let train = |sets: &[&str]| {
        let sets = sets.iter().flat_map(|set| ["--set", *set]);
        succeed(here, &TRAIN.into_iter().chain(sets).collect::<Vec<_>>());
    };
    let read = |path: &str| read_tensors(&here.join(path)).expect("tensors");
    train(&["student.tuning=full", "fake_score.form=output_lora"]);
    let base = read("base/network.safetensors");
    let trained = read("runs/smoke/student.safetensors");
    assert!(base.keys().eq(trained.keys()));
    let name = "blocks.0.attn.qkv.weight";
    assert!(base[name] != trained[name], "all weights are trained");
    let score = read("runs/smoke/fake-score.safetensors");
    assert_eq!(score.len(), 2 * 4, "two blocks, two pairs");
    let largest = score["blocks.1.attn.lora.lora_VB"].abs().max();
    assert!(largest.double_value(&[]) > 0.0);
    let sample = ["sample", "runs/smoke", "--prompt", "4", "--count", "1"];
    succeed(here, &sample);
    let error = fail(here, &["sample", "runs/smoke", "--prompt", "5"]);
    assert!(error.contains("`5` is no class"), "{error}");

    // The fake score as a network of its own, and a run that goes on from both.
    let full = ["fake_score.form=full", "student.tuning=full"];
    let both = ["--set", full[0], "--set", full[1]];
    let error = fail(here, &[&TRAIN[..], &both].concat());
    assert!(
        error.contains("real_scale") && error.contains("DynaDG"),
        "{error}"
    );
    let no_dose = "method.dmdr.dm.real_scale=0";
    train(&[full[0], full[1], no_dose, "name=full"]);
    let score = read("runs/full/fake-score.safetensors");
    assert!(base.keys().eq(score.keys()) && base[name] != score[name]);
    train(&[
        full[0],
        full[1],
        no_dose,
        "name=on",
        "student.init=runs/full/student.safetensors",
        "fake_score.init=runs/full/fake-score.safetensors",
    ]);
}

#[test]
fn what_does_not_fit_is_named_before_any_work() {
    let dir = place(pipeline::sd3, PROMPTS);
    let here = dir.path();
    let with = |set: &str| fail(here, &[&TRAIN[..], &["--set", set]].concat());
    let error = with("teacher.vae=base/vae");
    assert!(
        error.contains("teacher.vae") && error.contains("class-conditional"),
        "{error}"
    );
    let error = with("events.evaluate_every=2");
    assert!(error.contains("there is nothing to measure"), "{error}");
    fs::write(here.join("train.jsonl"), "{\"text\": \"a cat\"}\n{}\n").expect("writable");
    let error = fail(here, &TRAIN);
    assert!(
        error.contains("train.jsonl") && error.contains("line 2"),
        "{error}"
    );
    fs::write(here.join("train.jsonl"), "{\"text\": \"a cat\"}\n").expect("writable");
    fs::write(
        here.join("base/model_index.json"),
        "{\"_class_name\": \"FluxPipeline\"}",
    )
    .expect("writable");
    let error = fail(here, &TRAIN);
    assert!(
        error.contains("model_index.json") && error.contains("FluxPipeline"),
        "{error}"
    );
    assert!(!here.join("runs").exists(), "nothing is left behind");
}
