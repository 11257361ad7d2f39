//! When a run logs, samples, evaluates and saves. Nothing here can change a number of the training.

use serde::{Deserialize, Serialize};

use crate::fidelity::{Detector, Diversity};
use crate::metric::{self, Metric};
use crate::range;

/// `[events]`: periods in updates; the last update is always logged and saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// A record in `metrics.jsonl` every so many updates.
    #[serde(deserialize_with = "range::positive_whole")]
    pub log_every: u64,
    /// A sheet of samples every so many updates; 0 = never.
    pub sample_every: u64,
    /// An evaluation on validation prompts every so many updates; 0 = never.
    pub evaluate_every: u64,
    /// A checkpoint every so many updates; 0 = only at the end.
    pub checkpoint_every: u64,
    /// How many of the newest checkpoints are kept.
    #[serde(deserialize_with = "range::count")]
    pub keep_checkpoints: usize,
    /// Number of prompts on a sheet of samples.
    #[serde(deserialize_with = "range::cells")]
    pub num_sample_prompts: usize,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            log_every: 1,
            sample_every: 0,
            evaluate_every: 0,
            checkpoint_every: 0,
            keep_checkpoints: 2,
            num_sample_prompts: 16,
        }
    }
}

/// `[evaluation]`: the periodic evaluation on validation prompts. On the emoji world it has metrics of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluation {
    /// Number of validation prompts; of a file that has fewer, all.
    #[serde(deserialize_with = "range::count")]
    pub num_prompts: usize,
    /// Images a prompt, each from a seed of its own; diversity needs two.
    #[serde(deserialize_with = "range::count")]
    pub num_seeds: usize,
    /// Elsewhere: numbers of pixels that betray a gamed reward.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub detectors: Vec<Detector>,
    /// Elsewhere: reward models, of which some should not be trained on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
    /// Elsewhere: how far apart the images of a prompt are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diversity: Option<Diversity>,
}

impl Default for Evaluation {
    fn default() -> Self {
        Self {
            num_prompts: 60,
            num_seeds: 2,
            detectors: Vec::new(),
            metrics: Vec::new(),
            diversity: None,
        }
    }
}

impl Evaluation {
    /// What it calls its numbers where it has no metrics of its own.
    pub fn names(&self) -> Vec<&str> {
        metric::names(&self.metrics, &self.detectors, self.diversity.as_ref())
    }
}
