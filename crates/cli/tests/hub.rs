//! Pipelines and data sets of the Hugging Face hub: a run pins their commits, fetches what is read and nothing else, goes on
//! without the hub.

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use common::{
    checked, dmdr, pipeline,
    server::{Answer, Request, serve},
    succeed,
};
use dmdr_tensor::Tensor;
use dmdr_world::Image;

const TABLE: &str = r#"
name = "tiny-table"
precision = "f32"
seeds = [0]
batch_size = 2
[prompts]
file = "hf://datasets/lab/tiny-1.0/data/train.json"
[[models]]
name = "student"
run = "runs/tiny"
who = "student"
[[metrics]]
model.pick_score = { weights = "base/clip", tokenizer = "base/clip-tokenizer" }
"#;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with one repository, `lab/tiny-1.0`, a model or a data set: the folder `root`. Gives its address and the paths that were
/// asked for.
fn hub(root: PathBuf) -> (String, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let url = serve(move |request| {
        log.lock().expect("not poisoned").push(request.path.clone());
        answer(&root, request)
    });
    (url, asked)
}

fn answer(root: &Path, request: &Request) -> Answer {
    let path = &request.path;
    let is_info = |kind| path.starts_with(&format!("/api/{kind}/lab/tiny-1.0/revision/"));
    if is_info("models") || is_info("datasets") {
        let files: Vec<_> = files(root)
            .iter()
            .map(|file| serde_json::json!({ "rfilename": file }))
            .collect();
        let info = serde_json::json!({ "sha": COMMIT, "siblings": files });
        return Answer::ok(info.to_string());
    }
    let file = path.split_once(&format!("/resolve/{COMMIT}/"));
    let found = file.and_then(|(_, file)| Some((file, fs::read(root.join(file)).ok()?)));
    let Some((file, whole)) = found else {
        return Answer {
            status: 404,
            head: Vec::new(),
            body: Vec::new(),
        };
    };
    let size = whole.len();
    let range = request.header("range").expect("the client asks for parts");
    let (first, last) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.split_once('-'))
        .expect("a range");
    let first: usize = first.parse().expect("a start");
    let last = last.parse().unwrap_or(size - 1);
    Answer {
        status: 206,
        head: vec![
            format!("x-repo-commit: {COMMIT}"),
            format!("etag: \"{}\"", etag(file)),
            format!("content-range: bytes {first}-{last}/{size}"),
        ],
        body: whole[first..=last].to_vec(),
    }
}

/// Blobs are files of this name in the cache, so without slashes.
fn etag(file: &str) -> String {
    file.replace(['/', '.'], "-")
}

/// Files below `root`, with slashes.
fn files(root: &Path) -> Vec<String> {
    fn below(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                below(&path, root, found);
            } else {
                let name = path.strip_prefix(root).expect("below");
                found.push(name.to_str().expect("UTF-8").replace('\\', "/"));
            }
        }
    }
    let mut found = Vec::new();
    below(root, root, &mut found);
    found
}

fn with_hub(here: &Path, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = dmdr(here, arguments);
    command
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", here.join("hf"));
    command
}

/// What `dmdr sample` wrote as numbers is what it wrote as pictures, but for half a step of eight bits.
fn is_unrounded(here: &Path) {
    let tensors = dmdr_tensor::read_tensors(&here.join("images.safetensors")).expect("written");
    let images = &tensors["images"];
    assert_eq!(
        images.size(),
        [8, 3, 24, 24],
        "four of the teacher, four of the student"
    );
    let picture = Image::from_file(&here.join("images/000-teacher-0.png")).expect("written");
    let picture = Tensor::from_slice(&picture.data).reshape([3, 24, 24]);
    let error = (images.get(0) - picture).abs().max().double_value(&[]);
    assert!(0.0 < error && error < 0.501 / 255.0, "{error}");
}

#[test]
fn a_run_from_the_hub_is_one_from_a_folder() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let base = here.join("base");
    fs::write(base.join("README.md"), "A card.").expect("writable");
    fs::write(
        base.join("vae/diffusion_pytorch_model.fp16.safetensors"),
        "half",
    )
    .expect("writable");
    let (hub, asked) = hub(base.clone());

    let train = |name: &'static str| {
        [
            "train",
            "run.toml",
            "--set",
            "teacher.weights=lab/tiny-1.0",
            "--set",
            name,
        ]
    };
    checked(&mut with_hub(here, &hub, &train("name=remote")));
    let config = fs::read_to_string(here.join("runs/remote/config.toml")).expect("a run");
    assert!(
        config.contains(&format!("revision = \"{COMMIT}\"")),
        "{config}"
    );
    let asked = asked.lock().expect("not poisoned").clone();
    let is_asked = |name: &str| asked.iter().any(|path| path.contains(name));
    assert!(is_asked("transformer/config.json"), "{asked:?}");
    assert!(!is_asked("README") && !is_asked("fp16"), "{asked:?}");

    succeed(here, &["train", "run.toml", "--set", "name=local"]);
    let student = |name: &str| {
        let path = here.join("runs").join(name).join("student.safetensors");
        dmdr_tensor::read_tensors(&path).expect("finished")
    };
    assert_eq!(student("remote"), student("local"));

    // Nobody answers there: what is in the cache is enough for a run whose commit is known.
    let nowhere = "http://127.0.0.1:9";
    let resume = [&train("name=remote")[..], &["--resume"]].concat();
    checked(&mut with_hub(here, nowhere, &resume));
    checked(&mut with_hub(
        here,
        nowhere,
        &[
            "sample",
            "runs/remote",
            "--prompt",
            "a red cat",
            "--images",
            "images",
            "--tensors",
            "images.safetensors",
        ],
    ));
    is_unrounded(here);

    // A repository that is not there is named, before anything is made.
    let missing = with_hub(
        here,
        &hub,
        &[
            "train",
            "run.toml",
            "--set",
            "teacher.weights=lab/other",
            "--set",
            "name=other",
        ],
    )
    .output()
    .expect("the binary starts");
    let error = String::from_utf8_lossy(&missing.stderr);
    assert!(
        !missing.status.success() && error.contains("lab/other"),
        "{error}"
    );
    assert!(!here.join("runs/other").exists());
}

#[test]
fn prompts_of_a_data_set_stay_at_their_commit() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let set = here.join("set");
    fs::create_dir_all(set.join("data")).expect("writable");
    let rows = "[{\"prompt\": \"a red cat\"}, {\"prompt\": \"two boats\"}]";
    fs::write(set.join("data/train.json"), rows).expect("writable");
    fs::write(set.join("images.tar"), "large").expect("writable");
    let (hub, asked) = hub(set);
    let with = |file: &str| format!("world.prompts.train=hf://datasets/lab/{file}");
    let train = |file: &str| {
        let set = with(file);
        let arguments = ["train", "run.toml", "--set", &set];
        arguments.map(str::to_owned).to_vec()
    };
    let command = |endpoint: &str, arguments: &[String]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        with_hub(here, endpoint, &arguments)
    };
    checked(&mut command(&hub, &train("tiny-1.0/data/train.json")));
    let config = fs::read_to_string(here.join("runs/tiny/config.toml")).expect("a run");
    let pinned = format!("train = \"hf://datasets/lab/tiny-1.0@{COMMIT}/data/train.json\"");
    assert!(config.contains(&pinned), "{config}");
    let record = fs::read_to_string(here.join("runs/tiny/prompts.json")).expect("a run");
    assert!(record.contains("\"kept\": 2"), "{record}");
    let asked = asked.lock().expect("not poisoned").clone();
    let files: Vec<_> = asked
        .iter()
        .filter(|path| !path.starts_with("/api"))
        .collect();
    let expected = format!("/datasets/lab/tiny-1.0/resolve/{COMMIT}/data/train.json");
    assert!(files.iter().all(|path| **path == expected), "{files:?}");

    // Its commit is known and its file is in the cache.
    let resume = [
        train("tiny-1.0/data/train.json"),
        vec!["--resume".to_owned()],
    ]
    .concat();
    let nowhere = "http://127.0.0.1:9";
    checked(&mut command(nowhere, &resume));

    // A branch is the commit that it was when the hub was last asked.
    let again = [
        train("tiny-1.0/data/train.json"),
        vec!["--set".into(), "name=again".into()],
    ]
    .concat();
    checked(&mut command(nowhere, &again));
    let config = fs::read_to_string(here.join("runs/again/config.toml")).expect("a run");
    assert!(config.contains(&pinned), "{config}");
    fs::write(here.join("table.toml"), TABLE).expect("writable");
    let measure = ["eval", "table", "--config", "table.toml"].map(str::to_owned);
    checked(&mut command(nowhere, &measure));
    let table = fs::read_to_string(here.join("runs/tables/tiny-table/table.json")).expect("done");
    let pinned = format!("\"hf://datasets/lab/tiny-1.0@{COMMIT}/data/train.json\"");
    assert!(table.contains(&pinned), "{table}");

    for (file, expected) in [
        ("tiny-1.0/data/none.json", "`data/none.json`"),
        ("other/train.json", "`lab/other` at revision `main`"),
        (
            "tiny",
            "expected `hf://datasets/OWNER/NAME[@REVISION]/PATH`",
        ),
    ] {
        let arguments = [train(file), vec!["--set".into(), "name=other".into()]].concat();
        let output = command(&hub, &arguments).output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(expected),
            "{error}"
        );
        assert!(!here.join("runs/other").exists());
    }
}
