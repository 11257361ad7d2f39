//! The page: facts, headline, samples, charts, configuration.

use dmdr_events::{Environment, EvalReport};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::facts::Facts;
use crate::log::Log;
use crate::samples::Sheets;
use crate::style::STYLE;
use crate::{number, sections, table};

const SCRIPT: &str = include_str!("page/page.js");

/// All of it.
pub(crate) fn page(facts: &Facts, log: &Log, evals: &[EvalReport], sheets: &Sheets) -> Markup {
    let sections = sections::sections(log, evals, facts.seed());
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (facts.name) " · dmdr" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (facts.name) }
                    @if let Some(sentence) = facts.sentence() { p.lead { (sentence) } }
                    (what_was_run(facts, log))
                }
                main {
                    @if !evals.is_empty() {
                        section { h2 { "Result" } (table::tables(evals)) }
                    }
                    (sheets.markup())
                    @for section in &sections { (section.markup()) }
                    @if evals.is_empty() && sections.is_empty() { p.lead { "Nothing was logged yet." } }
                    section {
                        h2 { "Configuration" }
                        details { summary { "The resolved " code { "config.toml" } } pre { (facts.config) } }
                    }
                }
                footer { "Made from the run's " code { "metrics.jsonl" } ", " code { "eval/" } " and " code { "samples/" } "; it needs no network." }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// Names and values of what was run.
pub(crate) fn facts(facts: &Facts, log: &Log) -> Vec<(&'static str, String)> {
    facts
        .environment
        .as_ref()
        .map(environment)
        .unwrap_or_default()
        .into_iter()
        .chain(facts.seed().map(|seed| ("Seed", seed.to_string())))
        .chain((log.num_records() > 0).then(|| ("Updates", updates(log))))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn what_was_run(facts: &Facts, log: &Log) -> Markup {
    html! {
        dl {
            @for (name, value) in &self::facts(facts, log) {
                div { dt { (name) } dd { @if *name == "Command" { code { (value) } } @else { (value) } } }
            }
        }
    }
}

fn environment(environment: &Environment) -> Vec<(&'static str, String)> {
    let mut commit = environment.commit.clone();
    if environment.dirty && !commit.is_empty() {
        commit.push_str(", with uncommitted changes");
    }
    let libtorch = if environment.torch_version.is_empty() {
        String::new()
    } else {
        format!(", libtorch {}", environment.torch_version)
    };
    vec![
        ("Command", environment.command.clone()),
        ("Program", format!("dmdr {}{libtorch}", environment.version)),
        ("Commit", commit),
        ("Machine", environment.machine()),
        (
            "Started",
            environment
                .started_at
                .replace('T', " ")
                .replace('Z', " UTC"),
        ),
    ]
}

fn updates(log: &Log) -> String {
    let rate = log.num_updates() as f64 / log.wall_s();
    let rate = if rate.is_finite() {
        format!(", {} per second", number::short(rate))
    } else {
        String::new()
    };
    format!(
        "{} in {}{rate}",
        log.num_updates(),
        number::duration(log.wall_s())
    )
}
