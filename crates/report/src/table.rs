//! The headline: teacher and student side by side, one table per split.

use std::collections::{BTreeMap, BTreeSet};

use dmdr_events::{EvalReport, Statistic};
use maud::{Markup, html};

use crate::{metric, number};

/// One table per split; nothing without reports.
pub(crate) fn tables(evals: &[EvalReport]) -> Markup {
    let mut splits: BTreeMap<&str, Vec<&EvalReport>> = BTreeMap::new();
    for report in evals {
        splits.entry(&report.split).or_default().push(report);
    }
    html! {
        @for (split, reports) in &mut splits {
            ({ reports.sort_by_key(|report| (place(&report.what), report.what.clone())); table(split, reports) })
        }
    }
}

/// The teacher is read first, the student last, next to the difference.
fn place(what: &str) -> usize {
    match what {
        "teacher" => 0,
        "student" => 2,
        _ => 1,
    }
}

fn table(split: &str, reports: &[&EvalReport]) -> Markup {
    let keys: BTreeSet<&String> = reports
        .iter()
        .flat_map(|report| report.metrics.keys())
        .collect();
    let mut keys: Vec<&String> = keys.into_iter().collect();
    keys.sort_by_key(|key| metric::rank(key));
    let pair = pair(reports);
    html! {
        figure.table {
            table {
                thead {
                    tr {
                        th { (split) " split" }
                        @for report in reports { th { (report.what) } }
                        @if pair.is_some() { th { "difference" } }
                    }
                }
                tbody.cost {
                    (row("Network evaluations per image", reports, pair.is_some(), |r| r.num_evaluations.to_string()))
                    (row("Guidance", reports, pair.is_some(), |r| number::short(r.guidance)))
                    tr {
                        th { "Images per second" }
                        @for report in reports { td { (number::short(report.images_per_second)) } }
                        @if let Some((teacher, student)) = pair { td { (factor(teacher, student)) } }
                    }
                }
                tbody {
                    @for key in keys {
                        tr.first[matches!(key.as_str(), "geneval/overall" | "dpg/overall")] {
                            th title=(key) { (metric::title(key)) }
                            @for report in reports { td { (value(report.metrics.get(key))) } }
                            @if let Some((teacher, student)) = pair { (difference(teacher, student, key)) }
                        }
                    }
                }
            }
            figcaption { @for line in captions(reports) { (line) br; } }
        }
    }
}

fn row(
    title: &str,
    reports: &[&EvalReport],
    has_pair: bool,
    cell: impl Fn(&EvalReport) -> String,
) -> Markup {
    html! {
        tr {
            th { (title) }
            @for report in reports { td { (cell(report)) } }
            @if has_pair { td {} }
        }
    }
}

/// Teacher and student, if there is one of each and they saw the same prompts and noise.
fn pair<'a>(reports: &[&'a EvalReport]) -> Option<(&'a EvalReport, &'a EvalReport)> {
    let only = |what: &str| {
        let mut found = reports.iter().filter(|report| report.what == what);
        found.next().filter(|_| found.next().is_none()).copied()
    };
    let (teacher, student) = (only("teacher")?, only("student")?);
    let same = teacher.seeds == student.seeds && teacher.num_prompts == student.num_prompts;
    same.then_some((teacher, student))
}

fn factor(teacher: &EvalReport, student: &EvalReport) -> String {
    let factor = student.images_per_second / teacher.images_per_second;
    if factor.is_finite() {
        format!("×{}", number::fixed(factor, 1))
    } else {
        String::new()
    }
}

/// `0.812 ± 0.004`; without a spread when there is one seed.
fn value(statistic: Option<&Statistic>) -> Markup {
    html! {
        @match statistic {
            None => { "–" }
            Some(statistic) => {
                (number::fixed(statistic.mean, digits(statistic.mean)))
                @if statistic.per_seed.len() > 1 {
                    span.spread { " ± " (number::fixed(statistic.std, digits(statistic.mean))) }
                }
            }
        }
    }
}

/// Student minus teacher, seed by seed, so that what the noise does to both cancels.
fn difference(teacher: &EvalReport, student: &EvalReport, key: &str) -> Markup {
    let Some((teacher, student)) = teacher.metrics.get(key).zip(student.metrics.get(key)) else {
        return html! { td {} };
    };
    let each = teacher
        .per_seed
        .iter()
        .zip(&student.per_seed)
        .map(|(teacher, student)| student - teacher);
    let paired = Statistic::of(each.collect());
    let mean = if paired.mean.is_finite() {
        paired.mean
    } else {
        student.mean - teacher.mean
    };
    let digits = digits(student.mean);
    let is_clear = paired.per_seed.len() > 1 && mean.abs() > 2.0 * paired.std;
    html! {
        td.clear[is_clear] {
            (number::signed(mean, digits))
            @if paired.per_seed.len() > 1 { span.spread { " ± " (number::fixed(paired.std, digits)) } }
        }
    }
}

fn digits(value: f64) -> usize {
    if value.abs() >= 10.0 { 2 } else { 3 }
}

/// Prompts, seeds, weights and commands behind the numbers.
fn captions(reports: &[&EvalReport]) -> Vec<String> {
    let mut lines = vec![
        "Mean ± standard deviation over seeds. The difference is taken seed by seed on the same prompts and noise; \
         bold is more than two standard deviations."
            .to_owned(),
    ];
    // What all reports share is said once.
    let mut shared: Vec<String> = reports.iter().map(|report| origin(report)).collect();
    shared.dedup();
    lines.extend(reports.iter().map(|report| {
        let own = if shared.len() > 1 {
            format!("; {}", origin(report))
        } else {
            String::new()
        };
        format!(
            "{}: {}{own}; {}",
            report.what, report.checkpoint, report.command
        )
    }));
    if let [only] = &shared[..] {
        lines.push(format!("All: {only}"));
    }
    lines
}

/// Prompts, seeds, program and machine of a report.
fn origin(report: &EvalReport) -> String {
    let seeds = report
        .seeds
        .iter()
        .map(u64::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    format!(
        "{} prompts, seeds {seeds}; commit {}; {}",
        report.num_prompts, report.commit, report.machine
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(what: &str, per_seed: &[f64]) -> EvalReport {
        EvalReport {
            what: what.to_owned(),
            checkpoint: "assets/x.safetensors".to_owned(),
            towers: std::collections::BTreeMap::new(),
            split: "test".to_owned(),
            num_prompts: 10,
            seeds: (0..per_seed.len() as u64).collect(),
            num_evaluations: 4,
            guidance: 1.0,
            metrics: [(
                "geneval/overall".to_owned(),
                Statistic::of(per_seed.to_vec()),
            )]
            .into(),
            images_per_second: 12.0,
            command: "dmdr eval".to_owned(),
            commit: "abc".to_owned(),
            machine: "a machine".to_owned(),
        }
    }

    #[test]
    fn differences_are_paired() {
        let evals = [
            report("student", &[0.6, 0.7, 0.8]),
            report("teacher", &[0.5, 0.6, 0.7]),
        ];
        let html = tables(&evals).into_string();
        assert!(
            html.find("<th>teacher").expect("a column")
                < html.find("<th>student").expect("a column")
        );
        assert!(
            html.contains("+0.100<span class=\"spread\"> ± 0.000"),
            "{html}"
        );
        assert!(html.contains("class=\"clear\""));
        assert!(html.contains("0.700<span class=\"spread\"> ± 0.100"));
    }

    #[test]
    fn no_difference_between_other_seeds() {
        let html =
            tables(&[report("student", &[0.6]), report("teacher", &[0.5, 0.6])]).into_string();
        assert!(!html.contains("difference</th>"));
        assert!(html.contains("<td>0.600</td>"));
        assert_eq!(tables(&[]).into_string(), "");
    }
}
