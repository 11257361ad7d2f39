//! A run where no truth is known is measured by what its config names, and its page shows the result.

mod common;

use std::fs;

use common::{fail, pipeline, succeed};

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
    succeed(here, &["report", "runs/tiny"]);
    let page = fs::read_to_string(here.join("runs/tiny/report/index.html")).expect("written");
    let mut tables = page.split("<table").skip(1);
    let table = tables.find(|table| table.contains("validation split"));
    let table = table.expect("a table of the measured split");
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
