//! When a run logs, samples, evaluates and saves. Nothing here can change a number of the training.

use serde::{Deserialize, Serialize};

use crate::range;

/// `[events]`: periods in updates; the last update is always logged and saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// A record in `metrics.jsonl` every so many updates.
    #[serde(deserialize_with = "range::positive_steps")]
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
    #[serde(deserialize_with = "range::count")]
    pub num_sample_prompts: usize,
}

/// `[evaluation]`: the periodic evaluation on validation prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Evaluation {
    /// Number of validation prompts.
    #[serde(deserialize_with = "range::count")]
    pub num_prompts: usize,
    /// Images a prompt, each from a seed of its own; diversity needs two.
    #[serde(deserialize_with = "range::count")]
    pub num_seeds: usize,
}
