//! Reports side by side.

use std::collections::BTreeMap;

use super::table;
use crate::eval::{EvalReport, Statistic};

fn report(what: &str, metrics: &[(&str, &[f64])]) -> EvalReport {
    EvalReport {
        what: what.to_owned(),
        checkpoint: "runs/demo/checkpoints/update-000500".to_owned(),
        towers: std::collections::BTreeMap::new(),
        split: "test".to_owned(),
        num_prompts: 120,
        seeds: vec![0, 1],
        num_evaluations: if what == "teacher" { 50 } else { 4 },
        guidance: if what == "teacher" { 3.0 } else { 1.0 },
        metrics: metrics
            .iter()
            .map(|(name, values)| ((*name).to_owned(), Statistic::of(values.to_vec())))
            .collect::<BTreeMap<_, _>>(),
        images_per_second: 12.34,
        command: "dmdr eval".to_owned(),
        commit: "abc".to_owned(),
        machine: "2 threads".to_owned(),
    }
}

fn both() -> [EvalReport; 2] {
    [
        report(
            "teacher",
            &[("accuracy", &[0.5, 0.75]), ("clip", &[0.3, f64::NAN])],
        ),
        report("student", &[("accuracy", &[0.875])]),
    ]
}

#[test]
fn statistics_by_hand() {
    let statistic = Statistic::of(vec![1.0, 2.0, 4.0, 5.0]);
    assert!((statistic.mean - 3.0).abs() < 1e-15);
    assert!((statistic.std - (10.0_f64 / 3.0).sqrt()).abs() < 1e-15);
    assert_eq!(Statistic::of(vec![2.0]).std.to_bits(), 0);
    assert!(Statistic::of(Vec::new()).mean.is_nan());
}

#[test]
fn aligned_text() {
    let expected = "\
what              teacher  student
split                test     test
NFE                    50        4
guidance                3        1
prompts               120      120
seeds                   2        2
accuracy  0.6250 ± 0.1768   0.8750
clip            NaN ± NaN        -
images/s             12.3     12.3
";
    assert_eq!(table(&both()), expected);
}

#[test]
fn no_report_is_names_only() {
    assert_eq!(table(&[]).lines().count(), 7);
}

#[test]
fn reports_survive_the_disk() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("student.json");
    let [teacher, student] = both();
    student.write(&path).expect("written");
    assert_eq!(EvalReport::read(&path).expect("read"), student);
    teacher.write(&path).expect("replaced");
    let back = EvalReport::read(&path).expect("read");
    assert!(back.metrics["clip"].mean.is_nan());
    assert_eq!(back.metrics["accuracy"], teacher.metrics["accuracy"]);

    std::fs::write(&path, "{\"what\": 1}").expect("written");
    let error = EvalReport::read(&path)
        .expect_err("not a report")
        .to_string();
    assert!(
        error.contains("student.json` is not a valid evaluation report"),
        "{error}"
    );
}
