//! Official benchmarks on a tiny run: images in their layouts, scores from a detector's findings and a judge's answers.

mod common;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{
    fail, pipeline,
    server::{Answer, serve},
    succeed,
};

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

#[test]
fn dpg_draws_four_in_one_and_asks_a_judge_once() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
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
    let sheet = dmdr_world::Image::from_file(&here.join("images/cat.png")).expect("drawn");
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
    succeed(here, &[&sample[..], &others].concat());
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
        dmdr_world::Image::from_file(&path).expect("a picture").data
    };
    assert!(pixels("alone") == pixels("drawn"));
    succeed(here, &sample);
    let grid = fs::read(here.join("samples.png")).expect("written");
    assert!(String::from_utf8_lossy(&grid).contains("\"first_seed\":5"));
}
