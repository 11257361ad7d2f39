//! Pipelines and data sets of the Hugging Face hub: a run pins their commits, fetches what is read
//! and nothing else, goes on without the hub, and says what is refused.

mod common;

use std::{fs, path::Path};

use common::{
    checked,
    hub::{COMMIT, Hub, MODEL, Manners, NOWHERE, PROMPTS, doctor, refused, remote_run, with_hub},
    pipeline,
    server::{Answer, Request, serve},
    succeed,
};
use dmdr_image::Image;
use dmdr_tensor::Tensor;

/// What a server says.
type Answers = Box<dyn Fn(&Request) -> Answer + Send>;

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

/// What `dmdr sample` wrote as numbers is what it wrote as pictures, but for half a step of eight
/// bits.
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
    let hub = Hub::of(&base);

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
    checked(&mut with_hub(here, &hub.url, &train("name=remote")));
    let config = fs::read_to_string(here.join("runs/remote/config.toml")).expect("a run");
    assert!(
        config.contains(&format!("revision = \"{COMMIT}\"")),
        "{config}"
    );
    let asked = hub.asked();
    let is_asked = |name: &str| asked.iter().any(|asked| asked.line.contains(name));
    assert!(is_asked("transformer/config.json"), "{asked:?}");
    assert!(!is_asked("README") && !is_asked("fp16"), "{asked:?}");

    succeed(here, &["train", "run.toml", "--set", "name=local"]);
    let student = |name: &str| {
        let path = here.join("runs").join(name).join("student.safetensors");
        dmdr_tensor::read_tensors(&path).expect("finished")
    };
    assert_eq!(student("remote"), student("local"));

    // Nobody answers there: what is in the cache is enough for a run whose commit is known.
    let resume = [&train("name=remote")[..], &["--resume"]].concat();
    checked(&mut with_hub(here, NOWHERE, &resume));
    checked(&mut with_hub(
        here,
        NOWHERE,
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
    let other = ["--set", "teacher.weights=lab/other", "--set", "name=other"];
    let arguments = [&["train", "run.toml"][..], &other].concat();
    let error = refused(&mut with_hub(here, &hub.url, &arguments));
    let place = "`lab/other` at revision `main` on the Hugging Face hub: there is no model";
    assert!(error.contains(place), "{error}");
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
    let hub = Hub::of(&set);
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
    checked(&mut command(&hub.url, &train("tiny-1.0/data/train.json")));
    let config = fs::read_to_string(here.join("runs/tiny/config.toml")).expect("a run");
    let pinned = format!("train = \"hf://datasets/lab/tiny-1.0@{COMMIT}/data/train.json\"");
    assert!(config.contains(&pinned), "{config}");
    let record = fs::read_to_string(here.join("runs/tiny/prompts.json")).expect("a run");
    assert!(record.contains("\"kept\": 2"), "{record}");
    let asked = hub.asked();
    let files = asked.iter().filter(|asked| !asked.line.contains("/api/"));
    let files: Vec<_> = files.map(|asked| asked.line.as_str()).collect();
    let path = format!("/datasets/lab/tiny-1.0/resolve/{COMMIT}/data/train.json");
    assert_eq!(files, [format!("HEAD {path}"), format!("GET {path}")]);

    // Its commit is known and its file is in the cache.
    let resume = [
        train("tiny-1.0/data/train.json"),
        vec!["--resume".to_owned()],
    ]
    .concat();
    checked(&mut command(NOWHERE, &resume));

    // A branch is the commit that it was when the hub was last asked.
    let again = [
        train("tiny-1.0/data/train.json"),
        vec!["--set".into(), "name=again".into()],
    ]
    .concat();
    checked(&mut command(NOWHERE, &again));
    let config = fs::read_to_string(here.join("runs/again/config.toml")).expect("a run");
    assert!(config.contains(&pinned), "{config}");
    fs::write(here.join("table.toml"), TABLE).expect("writable");
    let measure = ["eval", "table", "--config", "table.toml"].map(str::to_owned);
    checked(&mut command(NOWHERE, &measure));
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
        let error = refused(&mut command(&hub.url, &arguments));
        assert!(error.contains(expected), "{error}");
        assert!(!here.join("runs/other").exists());
    }
}

/// What `dmdr doctor` says of a hub with the files of `base`, which is called HUB.
fn refusal(here: &Path, manners: Manners, token: Option<&str>, sets: &[&str]) -> String {
    let hub = Hub::new(manners);
    let mut command = doctor(here, &hub.url, sets);
    if let Some(token) = token {
        command.env("HF_TOKEN", token);
    }
    refused(&mut command).replace(&hub.url, "HUB")
}

#[test]
fn who_may_not_read_is_told_the_way_in() {
    let dir = pipeline::tiny_run();
    let token = Some("hf_x");
    for (refused, token, expected) in [
        (
            (401, "GatedRepo"),
            None,
            "it is gated, and no token was sent (status 401); accept its terms at HUB/lab/tiny-1.0, make a token at \
             HUB/settings/tokens, and set `HF_TOKEN` to it",
        ),
        (
            (403, "GatedRepo"),
            token,
            "it is gated, and the token of `HF_TOKEN` has no access (status 403); accept its terms at HUB/lab/tiny-1.0",
        ),
        (
            (401, "RepoNotFound"),
            None,
            "it is private or gated, or it does not exist",
        ),
        (
            (401, ""),
            token,
            "the hub refuses the token of `HF_TOKEN` (status 401)",
        ),
        (
            (403, ""),
            token,
            "the token of `HF_TOKEN` may not read it (status 403)",
        ),
    ] {
        let manners = Manners {
            refusal: Some(refused),
            ..Manners::default()
        };
        let error = refusal(dir.path(), manners, token, &[MODEL]);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn what_is_not_there_is_named() {
    let (dir, base) = remote_run();
    let here = dir.path();
    let of = |sets: &[&str]| {
        let manners = Manners {
            root: base.clone(),
            ..Manners::default()
        };
        refusal(here, manners, None, sets)
    };
    let none = format!("{PROMPTS}/none.json");
    let other = "world.prompts.train=hf://datasets/lab/none/a.json";
    for (sets, expected) in [
        (
            &["teacher.weights=lab/other"][..],
            "there is no model of that name (status 404)",
        ),
        (
            &[MODEL, "teacher.revision=v2"],
            "`lab/tiny-1.0` at revision `v2` on the Hugging Face hub: the repository has no such revision",
        ),
        (
            &[&none],
            "no file `none.json` at this revision (status 404); its files are listed at HUB/datasets/lab/tiny-1.0/tree/main",
        ),
        (&[other], "there is no data set"),
    ] {
        let error = of(sets);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    fs::remove_file(base.join("model_index.json")).expect("there");
    let error = of(&[MODEL]);
    assert!(error.contains("it has no `model_index.json`"), "{error}");
    let error = refused(&mut doctor(here, "hf-mirror.com", &[MODEL]));
    let expected = "`HF_ENDPOINT` is `hf-mirror.com`";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn what_is_no_hub_is_named() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let info = |request: &Request| {
        let info = format!("{{\"sha\": \"{COMMIT}\", \"siblings\": []}}");
        request.path.contains("/api/").then(|| Answer::ok(info))
    };
    let file = move |request: &Request, head: [&str; 2]| {
        info(request).unwrap_or_else(|| Answer::status(200, &head))
    };
    let same = "X-Repo-Commit: 0123456789abcdef0123456789abcdef01234567";
    let other = "X-Repo-Commit: 76543210fedcba9876543210fedcba9876543210";
    let servers: [(&str, Answers); 5] = [
        (
            "does not answer as a hub does: expected value at line 1",
            Box::new(|_| Answer::ok("<html>Please log in.</html>")),
        ),
        (
            "it redirects without end",
            Box::new(|request| Answer::status(302, &[&format!("Location: {}", request.path)])),
        ),
        (
            "it has commit `76543210fedcba9876543210fedcba9876543210` for 01234567",
            Box::new(move |request| file(request, [other, "ETag: \"abc\""])),
        ),
        (
            "`../../abc` is no ETag for a file's name",
            Box::new(move |request| file(request, [same, "ETag: \"../../abc\""])),
        ),
        (
            "too many requests: try again later, or with a token in `HF_TOKEN`",
            Box::new(|_| Answer::status(429, &["RateLimit: \"api\";r=0;t=3600"])),
        ),
    ];
    for (expected, answer) in servers {
        let url = serve(answer);
        let error = refused(&mut doctor(here, &url, &[&format!("{PROMPTS}/a.json")]));
        assert!(error.contains(expected), "{expected}: {error}");
        assert!(
            !here
                .join("hf/hub/datasets--lab--tiny-1.0/snapshots")
                .exists()
        );
    }
}
