//! [`EmojiOutcome`]: what an arm left behind.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::study::Metrics;

/// What an arm left behind.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EmojiOutcome {
    /// Of the finished student on test prompts.
    pub metrics: Metrics,
    /// The trained rewards over the training, by name of the number.
    pub curves: BTreeMap<String, Vec<(u64, f64)>>,
    /// The run's folder.
    pub run: PathBuf,
}
