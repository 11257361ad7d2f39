//! Which charts appear for which records.

use dmdr_events::{Kind, Record, Statistic};

use super::*;

fn titles(sections: &[Section]) -> Vec<String> {
    sections
        .iter()
        .flat_map(|section| {
            section
                .charts
                .iter()
                .map(|chart| format!("{}: {}", section.title, chart.key))
        })
        .collect()
}

fn log(kind: Kind, values: &[(&str, f64)]) -> Log {
    let records: Vec<Record> = (0..10)
        .map(|update| Record::new(update, kind, update as f64, values.iter().copied()))
        .collect();
    Log::new(&records)
}

#[test]
fn every_number_is_shown_once() {
    let log = log(
        Kind::Train,
        &[
            ("loss/dm", 1.0),
            ("reward/preference/mean", 1.0),
            ("reward/preference/std", 0.5),
            ("reward/preference/min", 0.0),
            ("reward/preference/max", 2.0),
            ("dm/real_scale", 0.75),
            ("renoise/a", 4.0),
            ("renoise/b", 1.5),
            ("grad_norm/student", 1.0),
            ("time/update_s", 0.5),
            ("something/new", 3.0),
        ],
    );
    assert_eq!(
        titles(&sections(&log, &[], Some(0))),
        [
            "Rewards: reward/preference",
            "Losses: loss/dm",
            "Schedules: dm/real_scale",
            "Schedules: renoise/a, renoise/b",
            "Schedules: renoise/a, renoise/b",
            "Gradients: grad_norm/student",
            "Speed and memory: time/update_s",
            "Other numbers: something/new",
        ]
    );
}

#[test]
fn the_parameters_of_a_logit_normal_are_schedules() {
    let log = log(Kind::Train, &[("renoise/mean", 1.5), ("renoise/std", 0.5)]);
    assert_eq!(
        titles(&sections(&log, &[], Some(0))),
        ["Schedules: renoise/mean", "Schedules: renoise/std"]
    );
}

#[test]
fn evaluations_are_grouped_and_compared_with_the_teacher() {
    let names = [
        "geneval/overall",
        "geneval/colors",
        "preference",
        "preference_heldout",
        "diversity",
    ];
    let log = log(Kind::Evaluate, &names.map(|name| (name, 0.5)));
    let teacher = EvalReport {
        what: "teacher".to_owned(),
        checkpoint: String::new(),
        towers: std::collections::BTreeMap::new(),
        split: "test".to_owned(),
        num_prompts: 1,
        seeds: vec![0],
        num_evaluations: 50,
        guidance: 3.0,
        metrics: [("geneval/overall".to_owned(), Statistic::of(vec![0.7]))].into(),
        images_per_second: 1.0,
        command: String::new(),
        commit: String::new(),
        machine: String::new(),
    };
    // A benchmark of the same name has other prompts.
    let benchmark = EvalReport {
        split: "geneval".to_owned(),
        metrics: [("geneval/overall".to_owned(), Statistic::of(vec![0.4]))].into(),
        ..teacher.clone()
    };
    let sections = sections(&log, &[benchmark, teacher], None);
    assert_eq!(
        titles(&sections),
        [
            "Quality during training: geneval/overall",
            "Quality during training: geneval/*",
            "Quality during training: preference*",
            "Quality during training: diversity",
        ]
    );
    let charts = &sections[0].charts;
    assert_eq!(charts[0].levels, [("teacher (test)".to_owned(), 0.7)]);
    assert_eq!(charts[2].lines.len(), 2);
}

#[test]
fn a_chart_says_how_many_values_the_seed_and_the_smoothing() {
    let records: Vec<Record> = (0..500)
        .map(|update| {
            Record::new(
                update,
                Kind::Train,
                0.0,
                [("loss/dm", if update == 3 { f64::NAN } else { 1.0 })],
            )
        })
        .collect();
    let sections = sections(&Log::new(&records), &[], Some(7));
    assert_eq!(
        sections[0].charts[0].note,
        "n = 499 updates · seed 7 · each point the mean of 4, band: their smallest and largest · 1 not finite (×)"
    );
}

#[test]
fn seconds_become_a_rate() {
    let log = log(Kind::Train, &[("time/update_s", 0.25)]);
    let sections = sections(&log, &[], None);
    assert!(
        sections[0].charts[0].lines[0]
            .points
            .iter()
            .all(|(_, y)| (y - 4.0).abs() < 1e-12)
    );
}

#[test]
fn the_renoising_bands_follow_the_beta() {
    let log = log(Kind::Train, &[("renoise/a", 1.0), ("renoise/b", 1.0)]);
    let sections = sections(&log, &[], None);
    let [bands, density] = &sections[0].charts[..] else {
        panic!("two charts");
    };
    let (_, low, high) = bands.bands[0].points[0];
    assert!((low - 0.05).abs() < 1e-9 && (high - 0.95).abs() < 1e-9);
    assert!(
        density.lines[0]
            .points
            .iter()
            .all(|(_, y)| (y - 1.0).abs() < 1e-12)
    );
}
