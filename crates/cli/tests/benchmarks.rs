//! Official benchmarks on a tiny run: images in their layouts, scores from a detector's findings and a judge's answers.

mod common;

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{
    checked, dmdr, fail, pipeline,
    server::{Answer, serve},
    succeed,
};
use serde_json::json;

fn stdout(here: &Path, arguments: &[&str]) -> String {
    String::from_utf8(succeed(here, arguments).stdout).expect("UTF-8")
}

#[test]
fn geneval_draws_the_official_folder_and_scores_detections() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    succeed(here, &["train", "run.toml"]);
    fs::write(
        here.join("metadata.jsonl"),
        "{\"tag\": \"single_object\", \"include\": [{\"class\": \"dog\", \"count\": 1}], \"prompt\": \"a photo of a dog\"}\n\
         {\"tag\": \"counting\", \"include\": [{\"class\": \"cat\", \"count\": 2}], \
         \"exclude\": [{\"class\": \"cat\", \"count\": 3}], \"prompt\": \"a photo of two cats\"}\n",
    )
    .expect("writable");
    let geneval = [
        "eval",
        "geneval",
        "--metadata",
        "metadata.jsonl",
        "--images",
        "images",
        "--samples",
        "2",
    ];
    let with = |more: &[&'static str]| [&geneval[..], more].concat();
    let error = fail(here, &geneval);
    assert!(
        error.contains("--run RUN") && error.contains("--detections"),
        "{error}"
    );
    succeed(here, &with(&["--run", "runs/tiny"]));
    let image = here.join("images/00001/samples/0001.png");
    let drawn = fs::read(&image).expect("drawn");
    assert!(here.join("images/00000/metadata.jsonl").is_file());
    let first = here.join("images/00000/samples/0000.png");
    let untouched = fs::metadata(&first)
        .and_then(|meta| meta.modified())
        .expect("drawn");
    fs::remove_file(&image).expect("there");
    succeed(here, &with(&["--run", "runs/tiny"]));
    assert!(fs::read(&image).expect("drawn again") == drawn);
    let now = fs::metadata(&first)
        .and_then(|meta| meta.modified())
        .expect("drawn");
    assert_eq!(untouched, now, "what was there was not drawn again");
    let other = ["--run", "runs/tiny", "--who", "teacher"];
    let error = fail(here, &with(&other));
    assert!(error.contains("holds images of the student"), "{error}");

    // A dog in one of two images; two cats, then three.
    let found = |image: &str, class: &str, count: usize| {
        let one = format!("{{\"class\": \"{class}\", \"box\": [0, 0, 9, 9], \"score\": 0.95}}");
        format!(
            "{{\"image\": \"{image}\", \"detections\": [{}]}}\n",
            vec![one; count].join(", ")
        )
    };
    let mut lines =
        found("00000/samples/0000.png", "dog", 1) + &found("00000/samples/0001.png", "cat", 1);
    lines += &found("00001/samples/0000.png", "cat", 2);
    fs::write(here.join("found.jsonl"), &lines).expect("writable");
    let error = fail(here, &with(&["--detections", "found.jsonl"]));
    assert!(error.contains("00001/samples/0001.png"), "{error}");
    lines += &found("00001/samples/0001.png", "cat", 3);
    fs::write(here.join("found.jsonl"), &lines).expect("writable");
    let text = stdout(here, &with(&["--detections", "found.jsonl"]));
    assert!(
        text.contains("overall          0.5000  (4 images, 2 prompts)"),
        "{text}"
    );
    let results = fs::read_to_string(here.join("images/results.jsonl")).expect("written");
    assert_eq!(
        results
            .lines()
            .filter(|line| line.contains("\"correct\":true"))
            .count(),
        2
    );
    says_what_was_scored(here);
}

/// The figures and the hashes of four images.
fn says_what_was_scored(here: &Path) {
    let scores = scores(here);
    assert_eq!(scores["scores"]["overall"], 0.5);
    assert_eq!(scores["pictures"]["count"], 4);
    assert_eq!(scores["rules"]["max_objects"], 16);
    assert_eq!(
        scores["detections"]["sha256"],
        sha256(&here.join("found.jsonl"))
    );
    assert_eq!(
        scores["prompts"]["sha256"],
        sha256(&here.join("metadata.jsonl"))
    );
    assert_eq!(scores["drawn_by"]["who"], "student");
    assert_eq!(
        scores["drawn_by"]["student"]["sha256"],
        sha256(&here.join("runs/tiny/student.safetensors"))
    );
    assert!(scores["clip"].is_null());
}

/// `scores.json` beside the images.
fn scores(here: &Path) -> serde_json::Value {
    let text = fs::read(here.join("images/scores.json")).expect("written");
    serde_json::from_slice(&text).expect("JSON")
}

fn sha256(path: &Path) -> String {
    let file = dmdr_events::InputFile::read(path);
    file.expect("readable").sha256
}

/// Ten equal pictures in GenEval's folder, and a prompt for each colour.
fn ten_colours(here: &Path) -> Vec<String> {
    let colors = [
        "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
    ];
    let mut picture = dmdr_image::Image::filled(30, 20, [0.9, 0.2, 0.1]);
    picture.set_pixel(8, 8, [0.0; 3]);
    let mut lines = String::new();
    let mut names = Vec::new();
    for (number, color) in colors.iter().enumerate() {
        names.push(format!("{number:05}/samples/0000.png"));
        let path = here.join("images").join(&names[number]);
        fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
        fs::write(path, picture.png(&[])).expect("writable");
        let _ = writeln!(
            lines,
            "{{\"tag\": \"colors\", \"include\": [{{\"class\": \"dog\", \"count\": 1, \"color\": \"{color}\"}}], \
             \"prompt\": \"a photo of a {color} dog\"}}"
        );
    }
    fs::write(here.join("metadata.jsonl"), lines).expect("writable");
    names
}

#[test]
fn geneval_has_clip_tell_colours() {
    let dir = tempfile::tempdir().expect("temp dir");
    let here = dir.path();
    pipeline::clip(here);
    let names = ten_colours(here);
    let found = |mask: &str| {
        let line = |name: &String| {
            format!(
                "{{\"image\": \"{name}\", \"detections\": [{{\"class\": \"dog\", \"box\": [2, 3, 21, 17.5], \
                 \"score\": 0.9, \"mask\": {mask}}}]}}\n"
            )
        };
        let lines: String = names.iter().map(line).collect();
        fs::write(here.join("found.jsonl"), lines).expect("writable");
    };
    found("{\"size\": [20, 30], \"counts\": [100, 400, 100]}");
    let geneval = [
        "eval",
        "geneval",
        "--metadata",
        "metadata.jsonl",
        "--images",
        "images",
        "--samples",
        "1",
        "--detections",
        "found.jsonl",
    ];
    let clip = ["--clip", "clip", "--clip-tokenizer", "clip-tokenizer"];
    // A picture that is cut short is none.
    let first = here.join("images").join(&names[0]);
    let whole = fs::read(&first).expect("there");
    fs::write(&first, &whole[..whole.len() - 20]).expect("writable");
    assert!(fail(here, &geneval).contains("is damaged"));
    fs::write(&first, whole).expect("writable");
    let error = fail(here, &geneval);
    assert!(
        error.contains("--clip WEIGHTS") && error.contains("no `color`"),
        "{error}"
    );
    let with_clip = [&geneval[..], &clip].concat();
    let text = stdout(here, &with_clip);
    // Whatever the colour of the one dog is, one of the ten prompts named it.
    assert!(text.contains("(1 of 10)"), "{text}");
    let scores = scores(here);
    assert_eq!(scores["masks"], true);
    assert_eq!(scores["clip"]["sha256"], sha256(&here.join("clip")));
    found("{\"size\": [30, 20], \"counts\": [600]}");
    let error = fail(here, &with_clip);
    assert!(
        error.contains("a mask of size [30, 20], its image [20, 30]"),
        "{error}"
    );
}

#[test]
fn geneval_says_what_its_detector_lacks() {
    let dir = tempfile::tempdir().expect("temp dir");
    let here = dir.path();
    pipeline::clip(here);
    ten_colours(here);
    fs::write(here.join("model.onnx"), "no model").expect("writable");
    fs::write(here.join("text.so"), "no library").expect("writable");
    let failing = |more: &[&str]| {
        let geneval = [
            "eval",
            "geneval",
            "--metadata",
            "metadata.jsonl",
            "--images",
            "images",
            "--samples",
            "1",
            "--detector",
            "model.onnx",
        ];
        let mut command = common::dmdr(here, &[&geneval[..], more].concat());
        let output = command
            .env_remove("ORT_DYLIB_PATH")
            .output()
            .expect("starts");
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = failing(&[]);
    assert!(
        error.contains("name colours") && error.contains("--clip"),
        "{error}"
    );
    let clip = ["--clip", "clip", "--clip-tokenizer", "clip-tokenizer"];
    let error = failing(&clip);
    for part in ["--onnxruntime", "ORT_DYLIB_PATH", "pip install onnxruntime"] {
        assert!(error.contains(part), "{error}");
    }
    let error = failing(&[&clip[..], &["--onnxruntime", "nowhere.so"]].concat());
    assert!(
        error.contains("cannot load ONNX Runtime from `nowhere.so`: No such file"),
        "{error}"
    );
    let error = failing(&[&clip[..], &["--onnxruntime", "text.so"]].concat());
    assert!(
        error.contains("cannot load ONNX Runtime from `text.so`"),
        "{error}"
    );
    let error = failing(&["--detections", "found.jsonl"]);
    assert!(error.contains("cannot be used with"), "{error}");
    assert!(
        !here.join("images/00000/metadata.jsonl").exists(),
        "before any work"
    );
}

/// A server that answers `yes` to all but questions about boats, and counts them.
fn judge() -> (String, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let url = serve(move |request| {
        counted.fetch_add(1, Ordering::SeqCst);
        let answer = if String::from_utf8_lossy(&request.body).contains("boat") {
            "No"
        } else {
            "Yes"
        };
        Answer::ok(format!(
            "{{\"choices\": [{{\"message\": {{\"content\": \"{answer}\"}}}}]}}"
        ))
    });
    (format!("{url}/v1/chat/completions"), count)
}

/// A finished run, and two prompts of DPG-Bench with their questions.
fn dpg_files(here: &Path) {
    succeed(here, &["train", "run.toml"]);
    fs::create_dir(here.join("prompts")).expect("writable");
    fs::write(here.join("prompts/cat.txt"), "a red cat").expect("writable");
    fs::write(here.join("prompts/boats.txt"), "two boats").expect("writable");
    fs::write(
        here.join("questions.csv"),
        "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language\n\
         cat,a red cat,,1,0,entity,whole,entity - whole (cat),Is there a cat?\n\
         cat,a red cat,,2,1,attribute,color,attribute - color (cat; red),Is the cat red?\n\
         boats,two boats,,1,0,entity,whole,entity - whole (boats),Are there boats?\n\
         boats,two boats,,2,1,other,count,other - count (boats; ==2),Are there two of them?\n",
    )
    .expect("writable");
}

#[test]
fn a_judge_is_asked_with_the_parameters_and_the_key_that_are_given() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    dpg_files(here);
    let (url, count) = judge();
    let files = ["--prompts", "prompts", "--images", "images", "--as-written"];
    let score = ["--questions", "questions.csv", "--answers", "answers.jsonl"];
    let dpg = [&["eval", "dpg"][..], &files].concat();
    let asked = [&dpg[..], &score, &["--judge", &url, "--model", "m"]].concat();
    succeed(here, &[&dpg[..], &["--run", "runs/tiny"]].concat());
    succeed(here, &asked);

    // Other parameters are other questions, too; a key from a file has a line end, which is not sent.
    let told = [
        "--max-tokens",
        "64",
        "--parameter",
        "seed=3",
        "--omit",
        "temperature",
    ];
    let mut command = dmdr(here, &[&asked[..], &told].concat());
    checked(command.env("DMDR_API_KEY", "sesame\n"));
    assert_eq!(count.load(Ordering::SeqCst), 2 * 2 * 4 * 2);
    let parameters = &scores(here)["judge"]["parameters"];
    assert_eq!(parameters, &json!({"max_tokens": 64, "seed": 3}));
    let mut command = dmdr(here, &[&asked[..], &told].concat());
    let output = command
        .env("DMDR_API_KEY", "ses\name")
        .output()
        .expect("starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("`DMDR_API_KEY`: the key holds a character"),
        "{error}"
    );
    let error = fail(here, &[&asked[..], &["--parameter", "seed"]].concat());
    assert!(error.contains("expected NAME=VALUE"), "{error}");
}

#[test]
fn dpg_draws_four_in_one_and_asks_a_judge_once() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    dpg_files(here);
    let (url, count) = judge();
    let dpg = [
        "eval",
        "dpg",
        "--prompts",
        "prompts",
        "--images",
        "images",
        "--as-written",
    ];
    let score = ["--questions", "questions.csv", "--answers", "answers.jsonl"];
    let asked = [&dpg[..], &score, &["--judge", &url, "--model", "m"]].concat();
    let error = fail(here, &asked);
    assert!(
        error.contains("there is no image") && error.contains("--run RUN"),
        "{error}"
    );
    succeed(here, &[&dpg[..], &["--run", "runs/tiny"]].concat());
    let sheet = dmdr_image::Image::from_file(&here.join("images/cat.png")).expect("drawn");
    assert_eq!((sheet.width, sheet.height), (48, 48), "four of 24");

    let text = stdout(here, &asked);
    // Cats: two of two in each image. Boats: the second question fell with the first.
    assert!(
        text.contains("overall          50.00  (2 prompts)"),
        "{text}"
    );
    assert!(text.contains("entity           50.00"), "{text}");
    assert_eq!(count.load(Ordering::SeqCst), 2 * 4 * 2);
    assert_eq!(stdout(here, &asked), text);
    assert_eq!(count.load(Ordering::SeqCst), 2 * 4 * 2, "asked once");
    let again = stdout(here, &[&dpg[..], &score].concat());
    assert_eq!(again, text, "from the answers alone");
    let told = scores(here);
    assert_eq!(told["quirks"]["cascade"], "dependents");
    assert!(told["judge"]["url"].is_string() && told["pictures"]["count"] == 2);
    assert_eq!(
        told["answers"]["sha256"],
        sha256(&here.join("answers.jsonl"))
    );

    // Single quirks: every image has the same answers, so the last one speaks for all; without the first row, the second
    // question about the cat hangs in the air.
    let plain = [&dpg[..dpg.len() - 1], &score].concat();
    let quirks = ["--quirks", "last-image-categories,file-order"];
    succeed(here, &[&plain[..], &quirks].concat());
    let told = scores(here);
    assert_eq!(told["quirks"]["last_image_categories"], true);
    assert_eq!(told["quirks"]["cascade"], "file_order");
    assert_eq!(told["quirks"]["first_row_lost"], false);
    let error = fail(
        here,
        &[&plain[..], &["--quirks", "first-row-lost"]].concat(),
    );
    assert!(
        error.contains("`cat`: question 2 depends on question 1"),
        "{error}"
    );
    let error = fail(
        here,
        &[&dpg[..], &score, &["--quirks", "file-order"]].concat(),
    );
    assert!(error.contains("cannot be used with"), "{error}");

    // Other words are other questions; a template needs a place for them.
    let words = ["--template", "Say yes or no: {question}", "--timeout", "20"];
    succeed(here, &[&asked[..], &words].concat());
    assert_eq!(count.load(Ordering::SeqCst), 2 * 2 * 4 * 2);
    assert_eq!(scores(here)["judge"]["template"], words[1]);
    assert_eq!(scores(here)["judge"]["model"], "m");
    let error = fail(here, &[&asked[..], &["--template", "Yes?"]].concat());
    assert!(error.contains("no `{question}`: Yes?"), "{error}");
}

#[test]
fn samples_say_how_they_were_made() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    succeed(here, &["train", "run.toml"]);
    let sample = [
        "sample",
        "runs/tiny",
        "--prompt",
        "a red cat",
        "--count",
        "2",
        "--seed",
        "5",
        "--images",
        "drawn",
    ];
    succeed(here, &sample);
    let written = |name: &str| fs::read(here.join("drawn").join(name)).expect("written");
    for (name, how) in [
        ("000-teacher-5.png", "Steps: 2, Sampler: Euler"),
        ("000-student-6.png", "Steps: 2, Sampler: LCM"),
    ] {
        let bytes = written(name);
        let text = String::from_utf8_lossy(&bytes);
        assert!(
            text.contains("parameters") && text.contains("a red cat") && text.contains(how),
            "{name}"
        );
    }
    let both = written("000-student-6.png");
    let others = ["--steps", "3", "--teacher-steps", "5", "--batch", "1"];
    let error = fail(here, &sample);
    assert!(
        error.contains("drawn/000-teacher-5.png") && error.contains("--overwrite"),
        "{error}"
    );
    let again = ["--overwrite"];
    succeed(here, &[&sample[..], &others, &again].concat());
    let grid = fs::read(here.join("samples.png")).expect("written");
    let output = String::from_utf8_lossy(&grid);
    assert!(output.contains("\"evaluations\":10") && output.contains("\"steps\":3"));
    let text = written("000-student-6.png");
    assert!(text != both && String::from_utf8_lossy(&text).contains("Steps: 3"));
    // An image of a batch of one is the same alone.
    let alone = ["--count", "1", "--seed", "6", "--images", "alone"];
    let alone: Vec<&str> = [&sample[..4], &alone, &others[..4]].concat();
    succeed(here, &alone);
    let pixels = |folder: &str| {
        let path = here.join(folder).join("000-student-6.png");
        dmdr_image::Image::from_file(&path).expect("a picture").data
    };
    assert!(pixels("alone") == pixels("drawn"));
    // Three by two: the last is drawn alone.
    let by_two = ["--count", "3", "--batch", "2"];
    let by_two: Vec<&str> = [&sample[..4], &by_two, &sample[6..], &again].concat();
    succeed(here, &by_two);
    for (name, batch) in [
        ("000-student-6.png", "Seed: 6 of a batch of 2 from 5,"),
        ("000-student-7.png", "Seed: 7 of a batch of 1 from 7,"),
    ] {
        assert!(
            String::from_utf8_lossy(&written(name)).contains(batch),
            "{name}"
        );
    }
    succeed(here, &[&sample[..], &again].concat());
    let grid = fs::read(here.join("samples.png")).expect("written");
    assert!(String::from_utf8_lossy(&grid).contains("\"first_seed\":5"));
}
