//! `[guard]`: what happens when a student no longer gets better where no reward looks.

use serde::{Deserialize, Serialize};

use crate::range;

/// A stop rule on one metric of the periodic evaluation, which watches from the first joint update on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Guard {
    /// What is watched; higher is better. On the emoji world `preference_heldout`, `geneval` or `diversity`, elsewhere the
    /// name of one of `evaluation.metrics`, or `diversity`.
    pub metric: String,
    /// Evaluations in a row without a new best before it acts.
    #[serde(deserialize_with = "range::positive_whole")]
    pub patience: u64,
    /// What it does then.
    pub action: GuardAction,
}

impl Default for Guard {
    fn default() -> Self {
        Self {
            metric: "preference_heldout".to_owned(),
            patience: 3,
            action: GuardAction::default(),
        }
    }
}

impl Guard {
    /// What it watches, as `metrics.jsonl` calls it.
    pub fn logged(&self) -> &str {
        match self.metric.as_str() {
            "geneval" => "geneval/overall",
            metric => metric,
        }
    }
}

/// What a guard does when its patience is at an end.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum GuardAction {
    /// End the run; the student it leaves is the best one.
    #[default]
    Stop,
    /// Multiply the weight of reinforcement learning by this factor in `[0, 1)`, and wait again.
    LowerRl(#[serde(deserialize_with = "range::below_one")] f64),
}
