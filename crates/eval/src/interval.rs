//! 95 % intervals of means over prompts, by the percentile bootstrap.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Draws of the bootstrap.
const NUM_RESAMPLES: usize = 10_000;
/// Seed of the draws: the same values give the same interval.
const BOOTSTRAP_SEED: u64 = 0;
/// Parts of the draws below and above the interval.
const TAIL: f64 = 0.025;

/// A mean, of scores or of differences, and its 95 % interval over prompts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Of one value a prompt.
    ///
    /// # Panics
    /// Without values.
    pub fn of(values: Vec<f64>) -> Self {
        let weight = 1.0;
        bootstrap(&[Stratum { weight, values }])
    }

    /// Whether the interval leaves 0 out: of a difference, that other prompts would likely show it as well.
    pub fn is_significant(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

/// Prompts of which a set has a fixed number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stratum {
    /// What the mean of these prompts contributes.
    pub(crate) weight: f64,
    /// One a prompt.
    pub(crate) values: Vec<f64>,
}

/// Prompts are drawn again within their stratum.
pub(crate) fn bootstrap(strata: &[Stratum]) -> Interval {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let of_all = strata
        .iter()
        .map(|stratum| stratum.weight * mean(&stratum.values))
        .sum();
    let mut rng = ChaCha8Rng::seed_from_u64(BOOTSTRAP_SEED);
    let mut drawn: Vec<f64> = (0..NUM_RESAMPLES)
        .map(|_| {
            let draw = |stratum: &Stratum, rng: &mut ChaCha8Rng| {
                let values = &stratum.values;
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
        mean: of_all,
        low: drawn[tail],
        high: drawn[NUM_RESAMPLES - 1 - tail],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_a_mean() {
        // 400 values of +-1 around 0.1: the mean's standard error is 1/20.
        let value = |index| if index % 2 == 0 { 1.1 } else { -0.9 };
        let interval = Interval::of((0..400).map(value).collect());
        assert!((interval.mean - 0.1).abs() < 1e-9);
        let expected = 1.96 / 20.0;
        assert!(
            (interval.low - (0.1 - expected)).abs() < 0.01,
            "{interval:?}"
        );
        assert!(
            (interval.high - (0.1 + expected)).abs() < 0.01,
            "{interval:?}"
        );
    }

    #[test]
    fn equal_values_leave_no_doubt() {
        let stratum = |weight, value| Stratum {
            weight,
            values: vec![value; 5],
        };
        let interval = bootstrap(&[stratum(0.25, 1.0), stratum(0.75, -1.0)]);
        assert_eq!(
            (interval.low, interval.high),
            (interval.mean, interval.mean)
        );
        assert!((interval.mean + 0.5).abs() < 1e-12);
        assert!(interval.is_significant());
    }
}
