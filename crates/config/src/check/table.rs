//! Rules of tables.

use crate::error::Problem;
use crate::table::{Table, TableMetric};

/// Every broken rule of a table.
pub(crate) fn table(t: &Table) -> Vec<Problem> {
    let mut problems = Vec::from_iter(t.prompts.rules().problem("prompts"));
    let mut seeds = t.seeds.clone();
    seeds.sort_unstable();
    seeds.dedup();
    if seeds.is_empty() || seeds.len() < t.seeds.len() {
        problems.push(Problem::new(
            &["seeds"],
            format!("{:?} is empty or names a seed twice", t.seeds),
            "give at least one seed, each once",
        ));
    }
    for (key, names) in [
        (
            "models",
            t.models
                .iter()
                .map(|model| model.name.as_str())
                .collect::<Vec<_>>(),
        ),
        (
            "metrics",
            (t.metrics.iter().map(TableMetric::name))
                .chain(t.detectors.iter().map(|detector| detector.name()))
                .chain(t.diversity.iter().map(|_| "diversity"))
                .collect(),
        ),
    ] {
        if names.is_empty() && (key == "models" || t.fidelity.is_none()) {
            problems.push(Problem::new(
                &[key],
                "there are none",
                format!("add a `[[{key}]]`"),
            ));
        }
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                let key = match key {
                    "metrics" if index >= t.metrics.len() => "detectors".to_owned(),
                    _ => format!("{key}.{index}.name"),
                };
                problems.push(Problem::new(
                    &[&key],
                    format!("another one is called `{name}` as well"),
                    "give each a name of its own",
                ));
            }
        }
    }
    if t.diversity.is_some() && t.seeds.len() < 2 {
        problems.push(Problem::new(
            &["diversity", "seeds"],
            format!(
                "diversity is the distance between a prompt's images, and {:?} makes one of each",
                t.seeds
            ),
            "give at least two seeds, or remove `[diversity]`",
        ));
    }
    for (index, metric) in t.metrics.iter().enumerate() {
        if metric.model.is_emoji() {
            problems.push(Problem::new(
                &[&format!("metrics.{index}.model")],
                format!("`{}` scores emoji scenes", metric.model.name()),
                "measure those with `dmdr eval RUN`",
            ));
        }
    }
    problems
}
