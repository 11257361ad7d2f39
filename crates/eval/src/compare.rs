//! Two samplers on the same prompts and noise, image by image.

use std::collections::BTreeMap;

use dmdr_events::Statistic;
use dmdr_world::Kind;
use serde::{Deserialize, Serialize};

use crate::{
    EvalError, Evaluation, Interval, Measured,
    interval::{Stratum, bootstrap},
    metrics::{MEANS, OVERALL, Score, accuracy},
};

/// How `a` differs from `b`: positive where `a` has the larger number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Comparison {
    /// The first evaluation's sampler.
    pub a: String,
    /// The second's.
    pub b: String,
    /// `a - b` of every metric that both have, seed by seed.
    pub differences: BTreeMap<String, Statistic>,
    /// 95 % intervals of the differences of metrics that are means over images.
    pub intervals: BTreeMap<String, Interval>,
}

/// Compares evaluations of one set.
///
/// Intervals are paired percentile bootstraps over prompts: each prompt's difference is its mean over the seeds, and
/// prompts are drawn again within their kind, since a set has fixed numbers of each. Seeds are not drawn again.
///
/// # Errors
/// [`EvalError::NotPaired`] for different sets.
pub fn compare(a: &Evaluation, b: &Evaluation) -> Result<Comparison, EvalError> {
    let key = |evaluation: &Evaluation| -> Vec<(usize, u64, Kind)> {
        let scores = evaluation.scores.iter();
        scores
            .map(|score| (score.prompt, score.seed, score.kind))
            .collect()
    };
    let set = |of: &Measured| (of.split.clone(), of.num_prompts, of.seeds.clone());
    if set(&a.measured) != set(&b.measured) || key(a) != key(b) {
        return Err(EvalError::NotPaired {
            a: a.sampler.clone(),
            b: b.sampler.clone(),
        });
    }
    let differences = a
        .measured
        .metrics
        .iter()
        .filter_map(|(name, of_a)| {
            let of_b = b.measured.metrics.get(name)?;
            let pairs = of_a.per_seed.iter().zip(&of_b.per_seed);
            Some((
                name.clone(),
                Statistic::of(pairs.map(|(a, b)| a - b).collect()),
            ))
        })
        .collect();
    let scored: [(&str, Score); 4] = [(OVERALL, accuracy), MEANS[0], MEANS[1], MEANS[2]];
    let intervals = scored
        .into_iter()
        .map(|(name, score)| {
            (
                name.to_owned(),
                bootstrap(&strata(a, b, score, name == OVERALL)),
            )
        })
        .collect();
    Ok(Comparison {
        a: a.sampler.clone(),
        b: b.sampler.clone(),
        differences,
        intervals,
    })
}

fn strata(
    a: &Evaluation,
    b: &Evaluation,
    score: Score,
    kinds_weigh_the_same: bool,
) -> Vec<Stratum> {
    let num_seeds = a.measured.seeds.len() as f64;
    let mut by_kind: BTreeMap<Kind, BTreeMap<usize, f64>> = BTreeMap::new();
    for (a, b) in a.scores.iter().zip(&b.scores) {
        let prompts = by_kind.entry(a.kind).or_default();
        *prompts.entry(a.prompt).or_default() += (score(a) - score(b)) / num_seeds;
    }
    let num_kinds = by_kind.len() as f64;
    let num_prompts = a.measured.num_prompts as f64;
    by_kind
        .into_values()
        .map(|prompts| Stratum {
            weight: if kinds_weigh_the_same {
                1.0 / num_kinds
            } else {
                prompts.len() as f64 / num_prompts
            },
            values: prompts.into_values().collect(),
        })
        .collect()
}
