//! Two samplers on the same prompts and noise, image by image.

use std::collections::BTreeMap;

use dmdr_events::Statistic;
use dmdr_world::Kind;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::{
    EvalError, Evaluation,
    metrics::{MEANS, OVERALL, Score, accuracy},
};

/// Draws of the bootstrap.
const NUM_RESAMPLES: usize = 10_000;
/// Seed of the draws: the same evaluations give the same interval.
const BOOTSTRAP_SEED: u64 = 0;
/// Parts of the draws below and above the interval.
const TAIL: f64 = 0.025;

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

/// A difference and its 95 % interval over prompts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// `a - b`.
    pub difference: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether the interval leaves 0 out: a difference that other prompts would likely show as well.
    pub fn is_significant(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
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
    if a.set != b.set || key(a) != key(b) {
        return Err(EvalError::NotPaired {
            a: a.sampler.clone(),
            b: b.sampler.clone(),
        });
    }
    let differences = a
        .metrics
        .iter()
        .filter_map(|(name, of_a)| {
            let of_b = b.metrics.get(name)?;
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

/// Prompts of one kind.
#[derive(Debug, Clone, PartialEq)]
struct Stratum {
    /// What the mean of this kind contributes to the metric.
    weight: f64,
    /// Difference of each prompt, mean over the seeds.
    differences: Vec<f64>,
}

fn strata(
    a: &Evaluation,
    b: &Evaluation,
    score: Score,
    kinds_weigh_the_same: bool,
) -> Vec<Stratum> {
    let num_seeds = a.set.seeds.len() as f64;
    let mut by_kind: BTreeMap<Kind, BTreeMap<usize, f64>> = BTreeMap::new();
    for (a, b) in a.scores.iter().zip(&b.scores) {
        let prompts = by_kind.entry(a.kind).or_default();
        *prompts.entry(a.prompt).or_default() += (score(a) - score(b)) / num_seeds;
    }
    let num_kinds = by_kind.len() as f64;
    let num_prompts = a.set.num_prompts as f64;
    by_kind
        .into_values()
        .map(|prompts| Stratum {
            weight: if kinds_weigh_the_same {
                1.0 / num_kinds
            } else {
                prompts.len() as f64 / num_prompts
            },
            differences: prompts.into_values().collect(),
        })
        .collect()
}

fn bootstrap(strata: &[Stratum]) -> Interval {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let difference = strata
        .iter()
        .map(|stratum| stratum.weight * mean(&stratum.differences))
        .sum();
    let mut rng = ChaCha8Rng::seed_from_u64(BOOTSTRAP_SEED);
    let mut drawn: Vec<f64> = (0..NUM_RESAMPLES)
        .map(|_| {
            let draw = |stratum: &Stratum, rng: &mut ChaCha8Rng| {
                let values = &stratum.differences;
                let sum: f64 = values
                    .iter()
                    .map(|_| values[rng.random_range(0..values.len())])
                    .sum();
                stratum.weight * sum / values.len() as f64
            };
            strata.iter().map(|stratum| draw(stratum, &mut rng)).sum()
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    let tail = (TAIL * NUM_RESAMPLES as f64) as usize;
    Interval {
        difference,
        low: drawn[tail],
        high: drawn[NUM_RESAMPLES - 1 - tail],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_a_mean() {
        // 400 differences of +-1 around 0.1: the mean's standard error is 1/20.
        let differences = (0..400)
            .map(|index| if index % 2 == 0 { 1.1 } else { -0.9 })
            .collect();
        let interval = bootstrap(&[Stratum {
            weight: 1.0,
            differences,
        }]);
        assert!((interval.difference - 0.1).abs() < 1e-9);
        assert!(
            (interval.low - (0.1 - 1.96 / 20.0)).abs() < 0.01,
            "{interval:?}"
        );
        assert!(
            (interval.high - (0.1 + 1.96 / 20.0)).abs() < 0.01,
            "{interval:?}"
        );
    }

    #[test]
    fn equal_differences_leave_no_doubt() {
        let stratum = |weight, value| Stratum {
            weight,
            differences: vec![value; 5],
        };
        let interval = bootstrap(&[stratum(0.25, 1.0), stratum(0.75, -1.0)]);
        assert_eq!(
            (interval.low, interval.high),
            (interval.difference, interval.difference)
        );
        assert!((interval.difference + 0.5).abs() < 1e-12);
        assert!(interval.is_significant());
    }
}
