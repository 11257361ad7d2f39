//! A run where no truth is known is measured by what its config names and by benchmarks, and its page shows the results.

mod common;

use std::{fmt::Write as _, fs, path::Path};

use common::{fail, pipeline, succeed};
use serde_json::{Value, json};

#[test]
fn a_run_on_prompt_files_is_measured_and_reported() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    succeed(here, &["train", "run.toml", "--root", "bare"]);
    let told = fail(here, &["eval", "bare/tiny"]);
    assert!(told.contains("it names no metrics"), "{told}");

    let metrics = "evaluation.detectors=[\"saturation\", \"high_frequency\"]";
    succeed(here, &["train", "run.toml", "--set", metrics]);
    let told = fail(here, &["eval", "runs/tiny", "--split", "test"]);
    assert!(
        told.contains("measured on its validation prompts"),
        "{told}"
    );

    let text = succeed(here, &["eval", "runs/tiny", "--seeds", "0,1", "--json"]);
    let reports: serde_json::Value = serde_json::from_slice(&text.stdout).expect("JSON");
    let [teacher, student] = &reports.as_array().expect("a list")[..] else {
        panic!("{reports}")
    };
    for (report, what) in [(teacher, "teacher"), (student, "student")] {
        assert_eq!(
            (&report["what"], &report["split"]),
            (&what.into(), &"validation".into())
        );
        assert_eq!(report["num_prompts"], 2);
        for metric in ["saturation", "high_frequency"] {
            let found = &report["metrics"][metric];
            let seeds: Vec<f64> =
                serde_json::from_value(found["per_seed"].clone()).expect("numbers");
            let mean = f64::midpoint(seeds[0], seeds[1]);
            assert!((found["mean"].as_f64().expect("a number") - mean).abs() < 1e-12);
        }
    }
    let table = table(here, "validation");
    for report in [teacher, student] {
        let what = report["what"].as_str().expect("a name");
        let mean = report["metrics"]["saturation"]["mean"]
            .as_f64()
            .expect("a number");
        assert!(
            table.contains(what) && table.contains(&format!("{mean:.3}")),
            "{table}"
        );
    }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("written")).expect("JSON")
}

/// The table of `split` on the page of the run.
fn table(here: &Path, split: &str) -> String {
    succeed(here, &["report", "runs/tiny"]);
    let page = fs::read_to_string(here.join("runs/tiny/report/index.html")).expect("written");
    let mut tables = page.split("<table").skip(1);
    let table = tables.find(|table| table.contains(&format!("{split} split")));
    table.expect("a table of the split").to_owned()
}

/// Two prompts, and what is in two images of each.
fn geneval_files(here: &Path) {
    // A dog in both images; two cats, then one.
    let mut found = String::new();
    for (image, class, count) in [
        ("00000/samples/0000.png", "dog", 1),
        ("00000/samples/0001.png", "dog", 1),
        ("00001/samples/0000.png", "cat", 2),
        ("00001/samples/0001.png", "cat", 1),
    ] {
        let one = json!({"class": class, "box": [0, 0, 9, 9], "score": 0.95});
        let line = json!({"image": image, "detections": vec![one; count]});
        let _ = writeln!(found, "{line}");
    }
    fs::write(here.join("found.jsonl"), found).expect("writable");
    fs::write(
        here.join("metadata.jsonl"),
        "{\"tag\": \"single_object\", \"include\": [{\"class\": \"dog\", \"count\": 1}], \"prompt\": \"a dog\"}\n\
         {\"tag\": \"counting\", \"include\": [{\"class\": \"cat\", \"count\": 2}], \"prompt\": \"two cats\"}\n",
    )
    .expect("writable");
}

#[test]
fn what_geneval_scores_is_on_the_page_of_the_run() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    succeed(here, &["train", "run.toml"]);
    geneval_files(here);
    let score = "eval geneval --metadata metadata.jsonl --images images --samples 2 --seed 5 --detections found.jsonl";
    let score: Vec<&str> = score.split(' ').collect();
    succeed(here, &[&score[..], &["--run", "runs/tiny"]].concat());
    let told = read(&here.join("images/scores.json"))["report"].clone();
    assert_eq!(
        told,
        read(&here.join("runs/tiny/eval/student-geneval.json"))
    );
    assert_eq!(told["seeds"], json!([5, 6]));
    assert_eq!(
        (&told["num_prompts"], &told["num_evaluations"]),
        (&2.into(), &2.into())
    );
    assert_eq!(told["checkpoint"], "runs/tiny/student.safetensors");
    assert!(told["images_per_second"].as_f64() > Some(0.0));
    let overall = &told["metrics"]["geneval/overall"];
    assert_eq!(
        (&overall["mean"], &overall["per_seed"]),
        (&json!(0.75), &json!([1.0, 0.5]))
    );
    let shown = table(here, "geneval");
    for part in [
        "student",
        "GenEval, overall",
        "0.750",
        "GenEval, counting",
        "0.500",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    only_of_a_run_that_is_found(here, &score, &told["metrics"]);
}

/// A run that is elsewhere now is found only if it is named; of images of somebody else nothing more is known.
fn only_of_a_run_that_is_found(here: &Path, score: &[&str], metrics: &Value) {
    fs::rename(here.join("runs/tiny"), here.join("runs/moved")).expect("there");
    let moved = here.join("runs/moved/eval/student-geneval.json");
    fs::remove_file(&moved).expect("there");
    succeed(here, score);
    assert!(!here.join("runs/tiny").exists() && !moved.exists());
    succeed(here, &[score, &["--run", "runs/moved"]].concat());
    assert_eq!(&read(&moved)["metrics"], metrics);
    fs::remove_file(here.join("images/drawn.json")).expect("there");
    fs::remove_file(&moved).expect("there");
    succeed(here, score);
    let foreign = &read(&here.join("images/scores.json"))["report"];
    assert_eq!(&foreign["metrics"], metrics);
    assert_eq!(
        (
            &foreign["what"],
            &foreign["num_evaluations"],
            &foreign["guidance"]
        ),
        (&"images".into(), &0.into(), &"NaN".into())
    );
    assert!(!moved.exists());
}

#[test]
fn what_dpg_scores_is_on_the_page_of_the_run() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    succeed(here, &["train", "run.toml"]);
    // The teacher's cat is there in all of four images, and red in two.
    fs::create_dir(here.join("prompts")).expect("writable");
    fs::write(here.join("prompts/cat.txt"), "a red cat").expect("writable");
    fs::write(
        here.join("questions.csv"),
        "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,question_natural_language\n\
         cat,a red cat,,1,0,entity,whole,entity - whole (cat),Is there a cat?\n\
         cat,a red cat,,2,1,attribute,color,attribute - color (cat; red),Is the cat red?\n",
    )
    .expect("writable");
    let line = |image: usize| {
        let red = if image < 2 { "yes" } else { "no" };
        format!(
            "{}\n",
            json!({"item": "cat", "image": image, "answers": {"1": "yes", "2": red}})
        )
    };
    fs::write(
        here.join("answers.jsonl"),
        (0..4).map(line).collect::<String>(),
    )
    .expect("writable");
    let dpg = "eval dpg --prompts prompts --images dpg --questions questions.csv --answers answers.jsonl --as-written \
               --run runs/tiny --who teacher";
    succeed(here, &dpg.split_whitespace().collect::<Vec<_>>());
    let told = read(&here.join("runs/tiny/eval/teacher-dpg.json"));
    assert_eq!(
        told["metrics"]["dpg/overall"]["per_seed"],
        json!([1.0, 1.0, 0.5, 0.5])
    );
    let shown = table(here, "dpg");
    for part in [
        "teacher",
        "DPG-Bench, overall",
        "0.750",
        "DPG-Bench, attribute",
        "0.500",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
