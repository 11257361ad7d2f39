//! One measurement for all: what a sampler's images are given, on prompts and noise that do not change.

use std::collections::BTreeMap;

use dmdr_events::{Environment, EvalReport, InputFile, Statistic};
use serde::{Deserialize, Serialize};

use crate::{EvalError, Sampler};

/// Metrics with their prompts and seeds.
pub trait Measure {
    /// Lets `sampler` draw all prompts once a seed and scores the images. `progress` is told (images done, of) after every
    /// batch.
    ///
    /// # Errors
    /// A sampler or a metric that fails, or makes something that is not finite.
    fn measure(
        &self,
        sampler: &dyn Sampler,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Measured, EvalError>;
}

/// Metrics of one sampler's images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Split of the prompts, such as `validation`, or the benchmark that they are of.
    pub split: String,
    /// Number of prompts; each is drawn once a seed.
    pub num_prompts: usize,
    /// Seeds of the noise.
    pub seeds: Vec<u64>,
    /// Network evaluations an image.
    pub num_evaluations: usize,
    /// Scale of classifier-free guidance; 1 = none.
    pub guidance: f64,
    /// By name.
    pub metrics: BTreeMap<String, Statistic>,
    /// Speed of sampling, scoring left out.
    pub images_per_second: f64,
    /// By metric with a number an image or a prompt, where they are kept: all prompts of the first seed, then of the next.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scores: BTreeMap<String, Vec<f64>>,
}

impl Measured {
    /// Means of all metrics, for `metrics.jsonl`.
    pub fn means(&self) -> BTreeMap<String, f64> {
        let metrics = self.metrics.iter();
        metrics
            .map(|(name, statistic)| (name.clone(), statistic.mean))
            .collect()
    }

    /// Its report: what was evaluated, such as `student`, with which weights, as a path or name, and the files of what
    /// scored, by metric.
    pub fn report(
        self,
        what: &str,
        checkpoint: String,
        towers: BTreeMap<String, InputFile>,
        environment: &Environment,
    ) -> EvalReport {
        EvalReport {
            what: what.to_owned(),
            checkpoint,
            towers,
            split: self.split,
            num_prompts: self.num_prompts,
            seeds: self.seeds,
            num_evaluations: self.num_evaluations,
            guidance: self.guidance,
            metrics: self.metrics,
            images_per_second: self.images_per_second,
            command: environment.command.clone(),
            commit: environment.commit.clone(),
            machine: environment.machine(),
        }
    }
}
