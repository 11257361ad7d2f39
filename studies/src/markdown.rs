//! A study's page: what was run, the table, the claims, the pictures.

use std::fmt::Write as _;

use dmdr_events::Environment;

use crate::{
    Report,
    study::{Results, Spread, Study},
    tuning::{Criterion, Tuning},
};

/// The page. `pictures` are titles and file names beside it.
pub fn page(report: &Report, environment: &Environment, pictures: &[(String, String)]) -> String {
    let Report {
        study,
        results,
        seeds,
        tuning,
        ..
    } = report;
    let mut text = format!("# {}\n\n{}\n\n", study.title, study.setup.trim());
    let commit = if environment.dirty {
        format!("{}, with uncommitted changes", environment.commit)
    } else {
        environment.commit.clone()
    };
    let _ = writeln!(
        text,
        "| | |\n|---|---|\n| Command | `{}` |\n| Seeds | {} |\n| Commit | {commit} |\n| Machine | {} |\n",
        environment.command,
        by_world(seeds),
        environment.machine(),
    );
    text += &table(study, results);
    for (title, file) in pictures {
        let _ = write!(text, "\n![{title}]({file})\n\n{title}.\n");
    }
    text += "\n## What the paper says\n\n";
    text += study.paper.trim();
    text += "\n\n## Does it hold here?\n\n| claim | advantage, mean ± spread over seeds | seeds | holds |\n|---|---|---|---|\n";
    for claim in &study.claims {
        let row = match results.evidence(claim) {
            Some(evidence) => format!(
                "{} | {} of {} | {}",
                spread(evidence.advantage, true),
                evidence.num_ahead,
                evidence.num_seeds,
                if evidence.holds() { "yes" } else { "**no**" }
            ),
            None => "not measured | | ".to_owned(),
        };
        let _ = writeln!(text, "| {} | {row} |", claim.text);
    }
    text += "\nA claim holds if its mean advantage, paired by seed, exceeds its standard error and two of three seeds agree.\n";
    text += &choices(tuning);
    wrapped(&text)
}

/// Prose of at most 100 columns; rows of tables, headings and pictures stay on their lines.
fn wrapped(page: &str) -> String {
    let line = |line: &str| {
        if line.starts_with(['|', '#', '!']) {
            format!("{line}\n")
        } else {
            format!("{}\n", textwrap::fill(line, 100))
        }
    };
    page.lines().map(line).collect()
}

/// E.g. "emoji world: 100, 101; plane: 100".
fn by_world(seeds: &[(Option<&str>, Vec<u64>)]) -> String {
    let lists: Vec<String> = seeds
        .iter()
        .map(|(world, seeds)| match world {
            Some(world) => format!("{world}: {}", list(seeds)),
            None => list(seeds),
        })
        .collect();
    lists.join("; ")
}

/// E.g. "100, 101".
fn list(seeds: &[u64]) -> String {
    let seeds: Vec<String> = seeds.iter().map(u64::to_string).collect();
    seeds.join(", ")
}

/// What every arm chose among.
fn choices(tuning: &[Tuning]) -> String {
    if tuning.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## How settings were chosen\n");
    for alike in tuning.chunk_by(|a, b| std::ptr::eq(a.criterion, b.criterion)) {
        let Criterion {
            columns,
            higher_is_better,
            seeds,
            on,
        } = alike[0].criterion;
        let [first, second] = columns.map(|column| column.title);
        let best = if *higher_is_better {
            "largest"
        } else {
            "smallest"
        };
        let _ = write!(
            text,
            "\nEvery arm had {} candidates, measured on {on} after training with seed {}; the one with the {best} sum of {first} \
             and {second} was taken.\n\n\
             | arm | candidate | {first} | {second} | sum | taken |\n|---|---|---|---|---|---|\n",
            alike[0].tried.len(),
            list(seeds),
        );
        for tuning in alike {
            for (index, tried) in tuning.tried.iter().enumerate() {
                let [first, second] = columns.map(|column| tried.metrics[column.key]);
                let _ = writeln!(
                    text,
                    "| {} | {} | {first:.3} | {second:.3} | {:.3} | {} |",
                    tuning.arm,
                    tried.settings,
                    first + second,
                    if index == tuning.chosen() { "yes" } else { "" }
                );
            }
        }
    }
    text
}

/// Arms by metrics: mean and standard deviation over seeds.
pub fn table(study: &Study, results: &Results) -> String {
    let mut text = String::from("| arm |");
    for column in &study.columns {
        let _ = write!(text, " {} |", column.title);
    }
    text += "\n|---|";
    text += &"---|".repeat(study.columns.len());
    text.push('\n');
    for arm in &study.arms {
        let _ = write!(text, "| {arm} |");
        for column in &study.columns {
            let values = results.values(arm, column.key);
            let cell = if values.is_empty() {
                String::new()
            } else {
                spread(Spread::of(&values), false)
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    text
}

fn spread(Spread { mean, std }: Spread, signed: bool) -> String {
    let digits = if mean.abs() >= 10.0 { 1 } else { 3 };
    let sign = if signed && mean >= 0.0 { "+" } else { "" };
    format!("{sign}{mean:.digits$} ± {std:.digits$}")
}

#[cfg(test)]
mod tests {
    use crate::{
        study::{Claim, Column, Metrics},
        tuning::Tried,
    };

    use super::*;

    static UNTRAINED: Criterion = Criterion::untrained(&[0]);

    #[test]
    fn a_page_has_the_table_and_an_answer_to_every_claim() {
        let study = Study {
            name: "fig0",
            title: "A study",
            setup: "Two arms.".to_owned(),
            arms: vec!["a", "b"],
            columns: vec![Column::new("kl", "KL")],
            paper: "a is better.",
            claims: vec![Claim {
                text: "a below b".into(),
                metric: "kl",
                better: "a",
                worse: "b",
                higher_is_better: false,
            }],
        };
        let seeds = |values: [f64; 2]| {
            let metrics = |value| Metrics::from([("kl".to_owned(), value)]);
            values.map(metrics).to_vec()
        };
        let results = Results {
            arms: [
                ("a".to_owned(), seeds([1.0, 1.5])),
                ("b".to_owned(), seeds([3.0, 3.5])),
            ]
            .into(),
        };
        let environment = Environment {
            command: "dmdr-lab fig0".to_owned(),
            ..Environment::default()
        };
        let tried = |settings: &str, geneval: f64| Tried {
            settings: settings.to_owned(),
            metrics: Metrics::from([
                ("geneval/overall".to_owned(), geneval),
                ("preference_heldout".to_owned(), 0.25),
            ]),
        };
        let tuning = vec![Tuning {
            arm: "a",
            criterion: &UNTRAINED,
            tried: vec![tried("rate 1e-4", 0.5), tried("rate 2e-4", 0.75)],
        }];
        let report = Report {
            study,
            results,
            seeds: vec![(None, vec![7, 8]), (Some("plane"), vec![7])],
            tuning,
            pictures: Vec::new(),
        };
        let pictures = [("Densities".to_owned(), "fig0.png".to_owned())];
        let page = page(&report, &environment, &pictures);
        for part in [
            "| a | 1.250 ± 0.354 |",
            "| a below b | +2.000 ± 0.000 | 2 of 2 | yes |",
            "![Densities](fig0.png)",
            "`dmdr-lab fig0`",
            "| Seeds | 7, 8; plane: 7 |",
            "Every arm had 2 candidates, measured on validation prompts after training with seed 0; the one with\nthe largest sum",
            "| a | rate 1e-4 | 0.500 | 0.250 | 0.750 |  |",
            "| a | rate 2e-4 | 0.750 | 0.250 | 1.000 | yes |",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }
}
