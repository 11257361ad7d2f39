//! What a study asks, what it measured, and whether the paper's claims hold.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Numbers of one arm with one seed, by metric.
pub type Metrics = BTreeMap<String, f64>;

/// Over seeds, metric by metric.
pub(crate) fn mean(seeds: &[Metrics]) -> Metrics {
    let mut mean = Metrics::new();
    for (key, value) in seeds.iter().flatten() {
        *mean.entry(key.clone()).or_default() += value / seeds.len() as f64;
    }
    mean
}

/// What is asked and how it is answered.
#[derive(Debug)]
pub struct Study {
    /// Its name on the command line, after the paper's table or figure.
    pub name: &'static str,
    /// In words.
    pub title: &'static str,
    /// What is compared, on which world, under which settings; Markdown.
    pub setup: String,
    /// Rows of the table.
    pub arms: Vec<&'static str>,
    /// Columns of the table.
    pub columns: Vec<Column>,
    /// What the paper says, to be read beside the table; Markdown.
    pub paper: &'static str,
    /// Statements that the numbers can contradict.
    pub claims: Vec<Claim>,
}

/// A metric.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name in [`Metrics`].
    pub key: &'static str,
    /// Its title.
    pub title: &'static str,
}

impl Column {
    pub(crate) const fn new(key: &'static str, title: &'static str) -> Self {
        Self { key, title }
    }
}

/// "`better` is above (or below) `worse` in `metric`".
#[derive(Debug, Clone)]
pub struct Claim {
    /// In words.
    pub text: String,
    /// The metric.
    pub metric: &'static str,
    /// The arm that should be ahead.
    pub better: &'static str,
    /// The arm it is compared with.
    pub worse: &'static str,
    /// Whether more is better.
    pub higher_is_better: bool,
}

/// All numbers of a study.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// By arm, in the order of the seeds.
    pub arms: BTreeMap<String, Vec<Metrics>>,
}

/// A mean over seeds with its spread.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation; 0 for a single seed.
    pub std: f64,
}

/// What the seeds say about a claim.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Advantage of the arm that should be ahead, paired by seed; positive is for the claim.
    pub advantage: Spread,
    /// Seeds in which it is ahead.
    pub num_ahead: usize,
    /// Seeds.
    pub num_seeds: usize,
}

impl Spread {
    /// Of some numbers.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squared: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = if values.len() > 1 {
            (squared / (n - 1.0)).sqrt()
        } else {
            0.0
        };
        Self { mean, std }
    }
}

impl Evidence {
    /// The mean is ahead by more than its standard error, and so is every seed but at most one in three.
    pub fn holds(&self) -> bool {
        let error = self.advantage.std / (self.num_seeds as f64).sqrt();
        self.advantage.mean > error && 3 * self.num_ahead >= 2 * self.num_seeds
    }
}

impl Results {
    /// Adds the numbers of the next seed of `arm`.
    pub fn push(&mut self, arm: &str, metrics: Metrics) {
        self.arms.entry(arm.to_owned()).or_default().push(metrics);
    }

    /// Values of a metric of an arm over the seeds; those that have it.
    pub fn values(&self, arm: &str, metric: &str) -> Vec<f64> {
        let seeds = self.arms.get(arm).map_or(&[][..], Vec::as_slice);
        seeds
            .iter()
            .filter_map(|metrics| metrics.get(metric).copied())
            .collect()
    }

    /// What speaks for a claim; none if a number is missing.
    pub fn evidence(&self, claim: &Claim) -> Option<Evidence> {
        let ahead = self.values(claim.better, claim.metric);
        let behind = self.values(claim.worse, claim.metric);
        if ahead.is_empty() || ahead.len() != behind.len() {
            return None;
        }
        let sign = if claim.higher_is_better { 1.0 } else { -1.0 };
        let advantages: Vec<f64> = ahead
            .iter()
            .zip(&behind)
            .map(|(a, b)| sign * (a - b))
            .collect();
        Some(Evidence {
            advantage: Spread::of(&advantages),
            num_ahead: advantages.iter().filter(|value| **value > 0.0).count(),
            num_seeds: advantages.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim() -> Claim {
        Claim {
            text: "a is below b".into(),
            metric: "kl",
            better: "a",
            worse: "b",
            higher_is_better: false,
        }
    }

    fn results(a: &[f64], b: &[f64]) -> Results {
        let arm = |values: &[f64]| -> Vec<Metrics> {
            let metrics = |value: &f64| Metrics::from([("kl".to_owned(), *value)]);
            values.iter().map(metrics).collect()
        };
        Results {
            arms: [("a".to_owned(), arm(a)), ("b".to_owned(), arm(b))].into(),
        }
    }

    #[test]
    fn the_mean_is_metric_by_metric() {
        let seed = |a: f64, b: f64| Metrics::from([("a".into(), a), ("b".into(), b)]);
        assert_eq!(mean(&[seed(1.0, 3.0), seed(2.0, 5.0)]), seed(1.5, 4.0));
    }

    #[test]
    fn evidence_is_paired_by_seed() {
        let evidence = results(&[1.0, 5.0, 3.0], &[2.0, 6.5, 3.5])
            .evidence(&claim())
            .expect("all there");
        assert!((evidence.advantage.mean - 1.0).abs() < 1e-12);
        assert!((evidence.advantage.std - 0.5).abs() < 1e-12);
        assert_eq!((evidence.num_ahead, evidence.num_seeds), (3, 3));
        assert!(evidence.holds());
    }

    #[test]
    fn noise_is_no_evidence_and_a_missing_seed_is_told() {
        let evidence = |a: &[f64], b: &[f64]| results(a, b).evidence(&claim());
        let noise = evidence(&[1.0, 5.0, 3.0], &[2.0, 2.0, 3.2]).expect("all there");
        assert!(!noise.holds());
        assert!(evidence(&[1.0], &[2.0, 3.0]).is_none());
        assert!(evidence(&[], &[]).is_none());
    }
}
