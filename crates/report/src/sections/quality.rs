//! Periodic evaluations, with the teacher's value to compare with.

use dmdr_events::{EvalReport, Kind};

use super::Context;
use crate::chart::Chart;
use crate::line::Line;
use crate::log::Series;
use crate::metric;

const GENEVAL: &str = "geneval/";
const OVERALL: &str = "geneval/overall";
/// Drawn together: the gap between the two shows whether the reward is exploited.
const PREFERENCES: [&str; 2] = ["preference", "preference_heldout"];

pub(super) fn charts(context: &Context, evals: &[EvalReport]) -> Vec<Chart> {
    let all: Vec<(&str, &Series)> = context
        .log
        .iter()
        .filter(|(kind, ..)| *kind == Kind::Evaluate)
        .map(|(_, key, series)| (key, series))
        .collect();
    let is_kind = |key: &str| key.starts_with(GENEVAL) && key != OVERALL;
    let mut charts = Vec::new();
    if let Some((key, series)) = all.iter().find(|(key, _)| *key == OVERALL) {
        let mut chart = one(context, evals, key, series);
        chart.is_wide = true;
        charts.push(chart);
    }
    let kinds: Vec<_> = all
        .iter()
        .filter(|(key, _)| is_kind(key))
        .copied()
        .collect();
    if !kinds.is_empty() {
        charts.push(several(
            context,
            "GenEval by task kind",
            "geneval/*",
            &kinds,
        ));
    }
    let both: Vec<_> = PREFERENCES
        .iter()
        .filter_map(|name| all.iter().find(|(key, _)| key == name).copied())
        .collect();
    let has_both = both.len() == PREFERENCES.len();
    if has_both {
        let mut chart = several(
            context,
            "Preference, trained on and held out",
            "preference*",
            &both,
        );
        "a growing gap means that the reward is exploited".clone_into(&mut chart.about);
        charts.push(chart);
    }
    let is_rest =
        |key: &str| key != OVERALL && !is_kind(key) && !(has_both && PREFERENCES.contains(&key));
    charts.extend(
        all.iter()
            .filter(|(key, _)| is_rest(key))
            .map(|(key, series)| one(context, evals, key, series)),
    );
    charts
}

fn one(context: &Context, evals: &[EvalReport], key: &str, series: &Series) -> Chart {
    let mut chart = several(context, &metric::title(key), key, &[(key, series)]);
    metric::describe(key).1.clone_into(&mut chart.about);
    "student".clone_into(&mut chart.lines[0].name);
    chart.levels = teacher(evals, key).into_iter().collect();
    chart
}

fn several(context: &Context, title: &str, key: &str, all: &[(&str, &Series)]) -> Chart {
    let longest = all
        .iter()
        .map(|(_, series)| series.points.len())
        .max()
        .unwrap_or(0);
    let note = format!(
        "n = {longest} evaluations{} · not smoothed",
        context.seed_note()
    );
    let mut chart = context.chart(title, key, note);
    chart.lines = all
        .iter()
        .enumerate()
        .map(|(color, (key, series))| Line {
            name: short_name(key),
            color,
            points: series.points.clone(),
            has_dots: true,
        })
        .collect();
    chart.broken = all
        .iter()
        .flat_map(|(_, series)| series.broken.clone())
        .collect();
    chart
}

fn short_name(key: &str) -> String {
    match key {
        "preference" => "trained on".to_owned(),
        "preference_heldout" => "held out".to_owned(),
        _ => metric::spaced(key.strip_prefix(GENEVAL).unwrap_or(key)),
    }
}

/// Splits that a run's own prompts may be of, the ones of its periodic evaluations first; a benchmark's prompts are others.
const SPLITS: [&str; 3] = ["validation", "test", "train"];

/// The teacher's value, on the validation split if it was evaluated there; another split is named.
fn teacher(evals: &[EvalReport], key: &str) -> Option<(String, f64)> {
    let of_split = |split: &&str| {
        let is_it = |report: &&EvalReport| report.what == "teacher" && report.split == *split;
        let mut reports = evals.iter().filter(is_it);
        reports.find(|report| report.metrics.contains_key(key))
    };
    let report = SPLITS.iter().find_map(of_split)?;
    let value = report.metrics[key].mean;
    let name = if report.split == "validation" {
        "teacher".to_owned()
    } else {
        format!("teacher ({})", report.split)
    };
    value.is_finite().then_some((name, value))
}
