//! How an arm comes by its settings: every arm has the same number of candidates, which are compared on validation
//! prompts with a training seed that no published number uses.

use dmdr_config::Experiment;
use dmdr_eval::EvalSet;
use dmdr_world::Split;

use crate::{LabError, emoji::Emoji, study::Metrics, units::unless_busy};

/// The training seed of all candidates.
pub const SEED: u64 = 0;

/// Settings to try.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// In words.
    pub settings: String,
    /// The whole experiment.
    pub experiment: Experiment,
}

/// What a candidate reached on validation prompts.
#[derive(Debug, Clone)]
pub struct Tried {
    /// In words.
    pub settings: String,
    /// Its metrics.
    pub metrics: Metrics,
}

/// All candidates of an arm.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// The arm.
    pub arm: &'static str,
    /// In the order they were given.
    pub tried: Vec<Tried>,
}

/// What candidates are compared in: GenEval plus held-out preference, the two metrics that no arm is trained on.
pub fn score(metrics: &Metrics) -> f64 {
    metrics["geneval/overall"] + metrics["preference_heldout"]
}

impl Tuning {
    /// Index of the best candidate; the first of equals.
    pub fn chosen(&self) -> usize {
        let score = |index: &usize| score(&self.tried[*index].metrics);
        (0..self.tried.len())
            .rev()
            .max_by(|a, b| score(a).total_cmp(&score(b)))
            .expect("an arm has candidates")
    }
}

/// Trains and measures all candidates of `arm`.
///
/// # Errors
/// As for [`Emoji::arm`]; [`LabError::Busy`] only after all others are finished.
pub fn tune(
    emoji: &mut Emoji<'_>,
    arm: &'static str,
    candidates: Vec<Candidate>,
    say: &mut dyn FnMut(&str),
) -> Result<Tuning, LabError> {
    let mut emoji = Emoji {
        units: emoji.units,
        base: emoji.base.clone(),
        set: EvalSet {
            split: Split::Validation,
            ..emoji.set.clone()
        },
        observer: &mut *emoji.observer,
    };
    let mut tried = Vec::new();
    let count = candidates.len();
    for candidate in candidates {
        let name = format!("{arm}, {}", candidate.settings);
        let outcome = emoji.arm(&name, SEED, candidate.experiment, say);
        if let Some(outcome) = unless_busy(outcome)? {
            tried.push(Tried {
                settings: candidate.settings,
                metrics: outcome.metrics,
            });
        }
    }
    if tried.len() < count {
        return Err(LabError::Busy);
    }
    Ok(Tuning { arm, tried })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_the_candidates_is_chosen() {
        let tried = |geneval: f64, preference: f64| Tried {
            settings: String::new(),
            metrics: Metrics::from([
                ("geneval/overall".to_owned(), geneval),
                ("preference_heldout".to_owned(), preference),
            ]),
        };
        let tuning = |tried| Tuning { arm: "a", tried };
        let rising = tuning(vec![tried(0.6, 0.7), tried(0.5, 0.9), tried(0.7, 0.6)]);
        assert_eq!(rising.chosen(), 1);
        let equal = tuning(vec![tried(0.5, 0.25), tried(0.5, 0.25)]);
        assert_eq!(equal.chosen(), 0);
    }
}
