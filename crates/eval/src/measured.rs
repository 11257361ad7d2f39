//! One measurement for all: what a sampler's images are given, on prompts and noise that do not change.

use std::collections::BTreeMap;

use dmdr_events::{EvalReport, InputFile, Statistic};

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

/// Metrics of one sampler.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Split of the prompts, such as `validation`.
    pub split: &'static str,
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
}

/// Where a measurement comes from: what its report says besides numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// What was evaluated, such as `teacher` or `student`.
    pub what: String,
    /// The weights, as a path or name.
    pub checkpoint: String,
    /// The files of what scored, by metric.
    pub towers: BTreeMap<String, InputFile>,
    /// The command line.
    pub command: String,
    /// The commit of the program.
    pub commit: String,
    /// The machine, in words.
    pub machine: String,
}

impl Measured {
    /// Means of all metrics, for `metrics.jsonl`.
    pub fn means(&self) -> BTreeMap<String, f64> {
        let metrics = self.metrics.iter();
        metrics
            .map(|(name, statistic)| (name.clone(), statistic.mean))
            .collect()
    }

    /// Its report.
    pub fn report(self, provenance: Provenance) -> EvalReport {
        let Provenance {
            what,
            checkpoint,
            towers,
            command,
            commit,
            machine,
        } = provenance;
        EvalReport {
            what,
            checkpoint,
            towers,
            split: self.split.to_owned(),
            num_prompts: self.num_prompts,
            seeds: self.seeds,
            num_evaluations: self.num_evaluations,
            guidance: self.guidance,
            metrics: self.metrics,
            images_per_second: self.images_per_second,
            command,
            commit,
            machine,
        }
    }
}
