//! Whole reports of synthetic runs.

use std::fs;
use std::path::Path;

use dmdr_events::{
    Environment, EvalReport, Kind, MetricsWriter, OwnedRun, Record, RunDir, Statistic,
};
use dmdr_report::{ReportError, render, write, write_card};

const CONFIG: &str = "name = \"demo\"\nseed = 3\n[teacher]\nnum_steps = 25\nguidance = 3.0\n\
                      [student]\nnum_steps = 4\n[[rewards]]\nweight = 1.0\n";

fn run(root: &Path) -> OwnedRun {
    let run = OwnedRun::create(root, "demo").expect("created");
    run.write_config(CONFIG).expect("written");
    run
}

fn record(run: &RunDir, records: &[Record]) {
    let mut writer = MetricsWriter::open(run.metrics(), None).expect("opened");
    for record in records {
        writer.append(record).expect("appended");
    }
}

fn evaluation(what: &str, values: [f64; 2]) -> EvalReport {
    EvalReport {
        what: what.to_owned(),
        checkpoint: format!("{what}.safetensors"),
        towers: std::collections::BTreeMap::new(),
        split: "validation".to_owned(),
        num_prompts: 60,
        seeds: vec![0, 1],
        num_evaluations: if what == "teacher" { 50 } else { 4 },
        guidance: if what == "teacher" { 3.0 } else { 1.0 },
        metrics: [("geneval/overall".to_owned(), Statistic::of(values.to_vec()))].into(),
        images_per_second: 2.0,
        command: format!("dmdr eval --what {what}"),
        commit: "0123abc".to_owned(),
        machine: "a processor, 2 threads".to_owned(),
    }
}

/// A sheet of 2 x 2 images of 4 pixels, each of one colour.
fn sheet(path: &Path, colors: [u8; 4]) {
    let mut sheet = image::RgbImage::from_pixel(14, 14, image::Rgb([255; 3]));
    for (index, color) in (0u32..).zip(colors) {
        let (left, top) = (2 + index % 2 * 6, 2 + index / 2 * 6);
        for (x, y) in (0..16).map(|i| (i % 4, i / 4)) {
            sheet.put_pixel(left + x, top + y, image::Rgb([color, 0, 0]));
        }
    }
    sheet.save(path).expect("saved");
}

#[test]
fn a_whole_run_is_one_page_that_needs_nothing_else() {
    let root = tempfile::tempdir().expect("temporary folder");
    let run = run(root.path());
    run.write_env(&Environment {
        version: "0.1.0".to_owned(),
        commit: "0123abc".to_owned(),
        torch_version: "2.11.0".to_owned(),
        command: "dmdr train 'a <b>.toml'".to_owned(),
        cpu_model: "a processor".to_owned(),
        num_threads: 2,
        ..Environment::default()
    })
    .expect("written");
    let records: Vec<Record> = (0..40)
        .map(|update| {
            let weight = if update < 20 { 0.0 } else { 0.3 };
            let values = [
                ("loss/dm", 1.0 / (1.0 + update as f64)),
                ("rl/weight", weight),
            ];
            Record::new(update, Kind::Train, update as f64 * 2.0, values)
        })
        .chain([Record::new(
            39,
            Kind::Evaluate,
            78.0,
            [("geneval/overall", 0.8)],
        )])
        .collect();
    record(&run, &records);
    run.write_eval("teacher", &evaluation("teacher", [0.7, 0.72]))
        .expect("written");
    run.write_eval("student", &evaluation("student", [0.8, 0.82]))
        .expect("written");
    sheet(&run.path().join("samples/teacher.png"), [1, 2, 3, 4]);
    sheet(&run.sample(0), [5, 6, 7, 8]);
    sheet(&run.sample(40), [9, 10, 11, 12]);
    let layout = r#"{"columns": 2, "captions": ["one", "two", "three <3>"]}"#;
    fs::write(run.path().join("samples/sheet.json"), layout).expect("written");

    let path = write(&run).expect("a report");
    assert_eq!(path, run.report());
    let page = fs::read_to_string(path).expect("readable");
    for part in [
        "<h1>demo</h1>",
        "A student of 4 steps from a 25-step teacher with guidance 3, distilled and reinforced in one run.",
        "dmdr train 'a &lt;b&gt;.toml'",
        "0123abc",
        "40 in 1 min 18 s, 0.5128 per second",
        "+0.100",
        "Distribution matching loss",
        "reward joins",
        "n = 40 updates · seed 3 · not smoothed",
        "three &lt;3&gt;",
        "update 40: one",
        "teacher: two",
        "[teacher]\nnum_steps = 25",
    ] {
        assert!(page.contains(part), "no `{part}`");
    }
    // 3 pairs, then 3 rows of 2 steps and the teacher.
    assert_eq!(
        page.matches("data:image/png;base64,").count(),
        3 * 2 + 3 * 3
    );
    for outside in ["<link", "src=\"http", "href=", "@import", "url("] {
        assert!(
            !page.contains(outside),
            "the page must not load `{outside}`"
        );
    }
    assert!(!page.contains("NaN"));
    // A second report replaces the first, with the same content.
    assert_eq!(render(&run).expect("a report"), page);
}

#[test]
fn a_run_without_anything_still_has_a_page() {
    let root = tempfile::tempdir().expect("temporary folder");
    let page = render(&run(root.path())).expect("a report");
    assert!(page.contains("Nothing was logged yet."));
    assert!(!page.contains("<svg"));
}

#[test]
fn sheets_without_a_layout_are_shown_whole() {
    let root = tempfile::tempdir().expect("temporary folder");
    let run = run(root.path());
    sheet(&run.path().join("samples/teacher.png"), [1, 2, 3, 4]);
    for update in 0..20 {
        sheet(&run.sample(update), [5, 6, 7, 8]);
    }
    let page = render(&run).expect("a report");
    // Teacher and student, then eight steps of the twenty.
    assert_eq!(page.matches("data:image/png;base64,").count(), 2 + 8);
    assert!(page.contains("update 0<") && page.contains("update 19<"));
}

#[test]
fn what_is_wrong_names_the_file() {
    let root = tempfile::tempdir().expect("temporary folder");
    let run = run(root.path());
    fs::write(run.sample(1), "no picture").expect("written");
    let error = render(&run).expect_err("no picture");
    assert!(matches!(error, ReportError::Picture { .. }));
    assert!(error.to_string().contains("update-000001.png"), "{error}");

    sheet(&run.sample(1), [0; 4]);
    fs::write(run.path().join("samples/sheet.json"), r#"{"rows": 2}"#).expect("written");
    let error = render(&run).expect_err("an unknown key").to_string();
    assert!(
        error.contains("sheet.json") && error.contains("rows"),
        "{error}"
    );
}

#[test]
fn a_diverged_run_has_a_report_that_says_so() {
    let root = tempfile::tempdir().expect("temporary folder");
    let run = run(root.path());
    let records: Vec<Record> = (0..10)
        .map(|update| {
            let loss = if update < 8 { 1.0 } else { f64::NAN };
            Record::new(
                update,
                Kind::Train,
                1.0,
                [("loss/dm", loss), ("loss/rl", f64::INFINITY)],
            )
        })
        .collect();
    record(&run, &records);
    let page = render(&run).expect("a report");
    assert!(page.contains("2 not finite (×)") && page.contains("10 not finite (×)"));
    assert!(!page.contains("NaN\"") && !page.contains("inf\""));
}

#[test]
fn a_card_says_how_weights_were_made_and_shows_the_curve() {
    let root = tempfile::tempdir().expect("temporary folder");
    let run = run(root.path());
    let records: Vec<Record> = (0..5)
        .map(|update| Record {
            update,
            kind: Kind::Train,
            wall_s: update as f64,
            values: [("loss/flow".to_owned(), 1.0 / (update + 1) as f64)].into(),
        })
        .collect();
    record(&run, &records);
    let card = write_card(&run, &root.path().join("net.safetensors")).expect("written");
    let text = fs::read_to_string(&card).expect("text");
    assert!(text.starts_with("# `net.safetensors`"), "{text}");
    for part in [
        "| Seed | 3 |",
        "| Updates | 5 in",
        "(net.svg)",
        "num_steps = 25",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let curve = fs::read_to_string(root.path().join("net.svg")).expect("curve");
    assert!(curve.starts_with("<svg xmlns=") && curve.contains("<style>"));
}
