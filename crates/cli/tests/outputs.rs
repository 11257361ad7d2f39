//! What commands write and read: no file is replaced unasked, none is its own input, and each is what its name says.

mod common;

use std::{collections::BTreeMap, fs, path::Path};

use common::{fail, pipeline, succeed};
use dmdr_tensor::{
    Device, Kind, Tensor, no_grad_guard, read_metadata, read_tensors, write_tensors,
};
use serde_json::json;

const IMPORT: [&str; 2] = ["import", "run.toml"];
const TO: [&str; 2] = ["--output", "start.safetensors"];

fn import(adapter: &str, more: &[&'static str]) -> Vec<String> {
    let words = [&IMPORT[..], &[adapter], more].concat();
    words.into_iter().map(str::to_owned).collect()
}

#[track_caller]
fn refused(here: &Path, words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    fail(here, &words)
}

#[track_caller]
fn done(here: &Path, words: &[String]) -> String {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    String::from_utf8_lossy(&succeed(here, &words).stderr).into_owned()
}

/// An adapter for the queries of `tiny_run`, as PEFT saves it, in `folder`: rank 2, values that are drawn.
fn peft(folder: &Path, config: &serde_json::Value) -> BTreeMap<String, Tensor> {
    fs::create_dir_all(folder).expect("writable");
    fs::write(folder.join("adapter_config.json"), config.to_string()).expect("writable");
    let base = read_tensors(
        &folder.with_file_name("base/transformer/diffusion_pytorch_model.safetensors"),
    );
    let mut tensors = BTreeMap::new();
    for (name, weight) in base.expect("a pipeline") {
        let Some(layer) = name
            .strip_suffix(".weight")
            .filter(|layer| layer.ends_with("to_q"))
        else {
            continue;
        };
        let (out, fan_in) = weight.size2().expect("[out, in]");
        let options = (Kind::Float, Device::Cpu);
        let key = |part: &str| format!("base_model.model.{layer}.lora_{part}.weight");
        tensors.insert(key("A"), Tensor::randn([2, fan_in], options));
        tensors.insert(key("B"), Tensor::randn([out, 2], options));
    }
    let path = folder.join("adapter_model.safetensors");
    write_tensors(&path, &tensors, Kind::Float, &BTreeMap::new()).expect("writable");
    tensors
}

fn lora(alpha: i32) -> serde_json::Value {
    json!({ "peft_type": "LORA", "r": 2, "lora_alpha": alpha })
}

#[test]
fn a_folder_of_pefts_starts_a_student() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let theirs = peft(&here.join("peft"), &lora(8));
    let said = done(here, &import("peft", &TO));
    assert!(!said.contains("panicked"), "{said}");
    let ours = read_tensors(&here.join("start.safetensors")).expect("written");
    assert_eq!(ours.len(), theirs.len());
    for (name, a) in &ours {
        let Some(layer) = name.strip_suffix(".lora_A.weight") else {
            continue;
        };
        let b = &ours[&format!("{layer}.lora_B.weight")];
        let of = |part: &str| &theirs[&format!("base_model.model.{layer}.lora_{part}.weight")];
        let own = of("B").matmul(of("A")) * 4.0; // 8 / 2; the config's own factor is 1
        let error = (b.matmul(a) - own).abs().max().double_value(&[]);
        assert!(error < 1e-5, "{layer}: {error}");
    }
    let header = read_metadata(&here.join("start.safetensors")).expect("readable");
    assert_eq!(header["scaling"], "1");
    let start = ["--set", "student.init=start.safetensors"];
    succeed(here, &[&["train", "run.toml"][..], &start].concat());

    // Another alpha would make another product of the same pairs.
    let tuning = "student.tuning={ lora = { rank = 2, alpha = 4.0, targets = [\"*to_q\"] } }";
    let train = ["train", "run.toml", "--root", "other", "--set", tuning];
    let error = fail(here, &[&train[..], &start].concat());
    assert!(
        error.contains("student.init") && error.contains("set the config's alpha to 2"),
        "{error}"
    );
    // Another tool's file is not a start.
    let start = ["--set", "student.init=peft/adapter_model.safetensors"];
    let error = fail(
        here,
        &[&["train", "run.toml", "--root", "other"][..], &start].concat(),
    );
    assert!(error.contains("`dmdr import`"), "{error}");
    assert!(!here.join("other").exists());
}

#[cfg(unix)] // links
#[test]
fn an_import_writes_over_nothing_and_never_over_its_input() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    peft(&here.join("peft"), &lora(8));
    let file = "peft/adapter_model.safetensors";
    let before = fs::read(here.join(file)).expect("written");
    std::os::unix::fs::symlink(here.join(file), here.join("link.safetensors")).expect("writable");
    for output in [
        file,
        "peft/../peft/adapter_model.safetensors",
        "link.safetensors",
    ] {
        for adapter in ["peft", file] {
            let words = [&IMPORT[..], &[adapter, "--output", output, "--overwrite"]].concat();
            let error = fail(here, &words);
            assert!(error.contains("is an input"), "{error}");
        }
    }
    let weights = "base/transformer/diffusion_pytorch_model.safetensors";
    let words = [&IMPORT[..], &["peft", "--output", weights, "--overwrite"]].concat();
    let error = fail(here, &words);
    assert!(
        error.contains("is an input") && error.contains("base"),
        "{error}"
    );
    assert_eq!(fs::read(here.join(file)).expect("there"), before);

    fs::write(here.join("start.safetensors"), "mine").expect("writable");
    let error = refused(here, &import("peft", &TO));
    assert!(error.contains("--overwrite"), "{error}");
    assert_eq!(
        fs::read(here.join("start.safetensors")).expect("there"),
        b"mine"
    );
    done(here, &import("peft", &[TO[0], TO[1], "--overwrite"]));
    for (output, expected) in [
        ("nowhere/start.safetensors", "no folder `nowhere`"),
        ("start.bin", "`.safetensors`"),
        ("start", "`.safetensors`"),
    ] {
        let error = fail(here, &[&IMPORT[..], &["peft", "--output", output]].concat());
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_adapter_that_does_not_fit_says_what_to_do() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let lower = "student.tuning={ lora = { rank = 1, alpha = 1.0, targets = [\"*to_q\"] } }";
    let fewer =
        "student.tuning={ lora = { rank = 2, alpha = 2.0, targets = [\"*.0.attn.to_q\"] } }";
    let more =
        "student.tuning={ lora = { rank = 2, alpha = 2.0, targets = [\"*to_q\", \"*to_k\"] } }";
    peft(&here.join("peft"), &lora(8));
    for (set, expected) in [
        (lower, "`student.tuning.lora.rank` to 2"),
        (fewer, "add it to `student.tuning.lora.targets`"),
        (more, "leave it out of `student.tuning.lora.targets`"),
    ] {
        let words = [&IMPORT[..], &["peft", "--set", set], &TO].concat();
        let error = fail(here, &words);
        assert!(
            error.contains(expected) && error.contains("adapter_model.safetensors"),
            "{error}"
        );
    }
    peft(
        &here.join("dora"),
        &json!({ "r": 2, "lora_alpha": 8, "use_dora": true }),
    );
    let error = refused(here, &import("dora", &TO));
    assert!(error.contains("DoRA"), "{error}");
    let error = refused(here, &import("nowhere", &TO));
    assert!(error.contains("nowhere"), "{error}");
    fs::create_dir(here.join("empty")).expect("writable");
    let error = refused(here, &import("empty", &TO));
    assert!(error.contains("holds no adapter"), "{error}");
    assert!(
        !here.join("start.safetensors").exists(),
        "nothing is left behind"
    );
}

#[test]
fn layers_of_text_encoders_are_left_out_on_demand() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let mut tensors = peft(&here.join("peft"), &lora(8));
    for part in ["A", "B"] {
        let name = format!("text_encoder.text_model.encoder.layers.0.mlp.fc1.lora_{part}.weight");
        tensors.insert(name, Tensor::ones([2, 2], (Kind::Float, Device::Cpu)));
    }
    let path = here.join("peft/adapter_model.safetensors");
    write_tensors(&path, &tensors, Kind::Float, &BTreeMap::new()).expect("writable");
    let error = refused(here, &import("peft", &TO));
    assert!(
        error.contains("of a text encoder") && error.contains("--without-text-encoders"),
        "{error}"
    );
    done(
        here,
        &import("peft", &[TO[0], TO[1], "--without-text-encoders"]),
    );
}

#[test]
fn pictures_and_weights_are_what_their_names_say() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let mut train = vec!["train", "run.toml", "--output", "student.safetensors"];
    fs::write(here.join("student.md"), "my notes").expect("writable");
    let error = fail(here, &train);
    assert!(
        error.contains("student.md") && error.contains("--overwrite"),
        "{error}"
    );
    assert!(!here.join("runs").exists(), "before any work");
    train.push("--overwrite");
    succeed(here, &train);
    assert!(
        fs::read_to_string(here.join("student.md"))
            .expect("a card")
            .contains("toml")
    );

    let sample = |more: &[&'static str]| {
        let words = [
            "sample",
            "runs/tiny",
            "--prompt",
            "a red cat",
            "--count",
            "1",
        ];
        [&words[..], more].concat()
    };
    for output in ["x.webp", "x", "x.jpg.gif"] {
        let error = fail(here, &sample(&["--output", output]));
        assert!(error.contains("`.png` or `.jpg`"), "{error}");
    }
    succeed(here, &sample(&["--output", "x.jpg"]));
    let jpeg = fs::read(here.join("x.jpg")).expect("written");
    assert_eq!(jpeg[..3], [0xff, 0xd8, 0xff]);
    succeed(
        here,
        &sample(&["--output", "x.PNG", "--tensors", "x.safetensors"]),
    );
    let png = fs::read(here.join("x.PNG")).expect("written");
    assert_eq!(&png[1..4], b"PNG");
    for (words, expected) in [
        (&["--output", "x.jpg"][..], "--overwrite"),
        (
            &["--output", "y.png", "--tensors", "x.safetensors"],
            "--overwrite",
        ),
        (
            &["--output", "y.png", "--tensors", "y.npy"],
            "`.safetensors`",
        ),
        (&["--output", "nowhere/y.png"], "no folder `nowhere`"),
        (
            &["--tensors", "runs/tiny/student.safetensors", "--overwrite"],
            "is an input",
        ),
    ] {
        let error = fail(here, &sample(words));
        assert!(error.contains(expected), "{words:?}: {error}");
    }
    // By its default name a picture is made again and again, but somebody else's stays.
    succeed(here, &sample(&[]));
    succeed(here, &sample(&[]));
    fs::write(here.join("samples.png"), &jpeg).expect("writable");
    let error = fail(here, &sample(&[]));
    assert!(
        error.contains("samples.png") && error.contains("--overwrite"),
        "{error}"
    );

    let card = ["report", "runs/tiny", "--card", "student.safetensors"];
    let error = fail(here, &card);
    assert!(error.contains("student.md"), "{error}");
    succeed(here, &[&card[..], &["--overwrite"]].concat());
    succeed(here, &["report", "runs/tiny"]);
    succeed(here, &["report", "runs/tiny"]);
}

#[test]
fn an_export_holds_no_infinity_and_replaces_nothing_unasked() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    succeed(here, &["train", "run.toml"]);
    let export =
        |more: &[&'static str]| [&["export", "runs/tiny", "--output", "out"][..], more].concat();
    succeed(here, &export(&[]));
    let error = fail(here, &export(&[]));
    assert!(
        error.contains("out/") && error.contains("--overwrite"),
        "{error}"
    );
    succeed(here, &export(&["--overwrite"]));
    let into = [
        "export",
        "runs/tiny",
        "--layout",
        "diffusers",
        "--output",
        "base",
    ];
    let error = fail(here, &[&into[..], &["--overwrite"]].concat());
    assert!(error.contains("is an input"), "{error}");

    let path = here.join("runs/tiny/student.safetensors");
    let tensors = read_tensors(&path).expect("finished");
    {
        let _guard = no_grad_guard();
        let mut first = tensors["transformer_blocks.0.attn.to_q.lora_A.weight"].shallow_clone();
        let _ = first.fill_(1e5);
    }
    let header = read_metadata(&path).expect("readable");
    write_tensors(&path, &tensors, Kind::Float, &header).expect("writable");
    let f16 = ["export", "runs/tiny", "--dtype", "f16", "--output", "small"];
    let error = fail(here, &f16);
    assert!(
        error.contains("transformer_blocks.0.attn.to_q.lora_A.weight")
            && error.contains("too large for f16")
            && error.contains("--dtype"),
        "{error}"
    );
    assert!(!here.join("small").exists(), "nothing is left behind");
    succeed(
        here,
        &[
            "export",
            "runs/tiny",
            "--dtype",
            "bf16",
            "--output",
            "small",
        ],
    );
}
