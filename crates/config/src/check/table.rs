//! Rules of tables.

use crate::error::Problem;
use crate::metric;
use crate::table::Table;

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
    let models: Vec<&str> = t.models.iter().map(|model| model.name.as_str()).collect();
    let metrics = metric::names(&t.metrics, &t.detectors, t.diversity.as_ref());
    for (key, is_missing) in [
        ("models", models.is_empty()),
        ("metrics", metrics.is_empty() && t.fidelity.is_none()),
    ] {
        if is_missing {
            problems.push(Problem::new(
                &[key],
                "there are none",
                format!("add a `[[{key}]]`"),
            ));
        }
    }
    distinct(
        &models,
        |index| format!("models.{index}.name"),
        &mut problems,
    );
    let key = |index| named("", t.metrics.len(), index);
    distinct(&metrics, key, &mut problems);
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

/// The key that names metric `index`, of which the first `num_metrics` have names of their own.
pub(super) fn named(table: &str, num_metrics: usize, index: usize) -> String {
    if index < num_metrics {
        format!("{table}metrics.{index}.name")
    } else {
        format!("{table}detectors")
    }
}

/// Every name may be given once; `key` tells where one of them stands.
pub(super) fn distinct(names: &[&str], key: impl Fn(usize) -> String, problems: &mut Vec<Problem>) {
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            problems.push(Problem::new(
                &[&key(index)],
                format!("another one is called `{name}` as well"),
                "give each a name of its own",
            ));
        }
    }
}
