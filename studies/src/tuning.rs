//! How an arm comes by its settings: every arm has the same number of candidates, which are compared with training seeds
//! that no published number uses, and where there are prompts on those of validation.

use dmdr_config::Experiment;
use dmdr_eval::EvalSet;
use dmdr_world::Split;

use crate::{
    LabError,
    emoji::Emoji,
    study::{Column, Metrics, mean},
    units::unless_busy,
};

/// Settings to try.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// In words.
    pub settings: String,
    /// The whole experiment, one a training seed of the criterion.
    pub experiments: Vec<Experiment>,
}

/// What a candidate reached.
#[derive(Debug, Clone)]
pub struct Tried {
    /// In words.
    pub settings: String,
    /// Its metrics.
    pub metrics: Metrics,
}

/// What candidates are compared in: the sum of two metrics.
#[derive(Debug)]
pub struct Criterion {
    /// The metrics.
    pub columns: [Column; 2],
    /// Whether more is better.
    pub higher_is_better: bool,
    /// The training seeds of candidates, which are compared in the mean over them.
    pub seeds: &'static [u64],
    /// On what they are measured, in words.
    pub on: &'static str,
}

impl Criterion {
    /// On the emoji world: the two metrics that no arm is trained on.
    pub const fn untrained(seeds: &'static [u64]) -> Self {
        Self {
            columns: [
                Column::new("geneval/overall", "GenEval"),
                Column::new("preference_heldout", "preference (held out)"),
            ],
            higher_is_better: true,
            seeds,
            on: "validation prompts",
        }
    }

    /// Of both metrics.
    pub fn sum_of(&self, metrics: &Metrics) -> f64 {
        self.columns.iter().map(|column| metrics[column.key]).sum()
    }
}

/// All candidates of an arm.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// The arm.
    pub arm: &'static str,
    /// What they are compared in.
    pub criterion: &'static Criterion,
    /// In the order they were given.
    pub tried: Vec<Tried>,
}

impl Tuning {
    /// Index of the best candidate; the first of equals.
    pub fn chosen(&self) -> usize {
        let sign = if self.criterion.higher_is_better {
            1.0
        } else {
            -1.0
        };
        let score = |index: &usize| sign * self.criterion.sum_of(&self.tried[*index].metrics);
        (0..self.tried.len())
            .rev()
            .max_by(|a, b| score(a).total_cmp(&score(b)))
            .expect("an arm has candidates")
    }
}

/// Trains and measures all candidates of `arm` with all seeds of `criterion`.
///
/// # Errors
/// As for [`Emoji::arm`]; [`LabError::Busy`] only after all others are finished.
pub fn tune(
    emoji: &mut Emoji<'_>,
    arm: &'static str,
    criterion: &'static Criterion,
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
        let mut of_seeds = Vec::new();
        for (&seed, experiment) in criterion.seeds.iter().zip(candidate.experiments) {
            let outcome = emoji.arm(&name, seed, experiment, say);
            of_seeds.extend(unless_busy(outcome)?.map(|outcome| outcome.metrics));
        }
        if of_seeds.len() == criterion.seeds.len() {
            tried.push(Tried {
                settings: candidate.settings,
                metrics: mean(&of_seeds),
            });
        }
    }
    if tried.len() < count {
        return Err(LabError::Busy);
    }
    Ok(Tuning {
        arm,
        criterion,
        tried,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    static HIGHEST: Criterion = Criterion::untrained(&[0]);
    static LOWEST: Criterion = Criterion {
        higher_is_better: false,
        ..HIGHEST
    };

    #[test]
    fn the_best_of_the_candidates_is_chosen() {
        let tried = |geneval: f64, preference: f64| Tried {
            settings: String::new(),
            metrics: Metrics::from([
                ("geneval/overall".to_owned(), geneval),
                ("preference_heldout".to_owned(), preference),
            ]),
        };
        let by = |criterion, tried| Tuning {
            arm: "a",
            criterion,
            tried,
        };
        let tuning = |tried| by(&HIGHEST, tried);
        let rising = tuning(vec![tried(0.6, 0.7), tried(0.5, 0.9), tried(0.7, 0.6)]);
        assert_eq!(rising.chosen(), 1);
        let equal = tuning(vec![tried(0.5, 0.25), tried(0.5, 0.25)]);
        assert_eq!(equal.chosen(), 0);
        let falling = by(
            &LOWEST,
            vec![tried(0.6, 0.7), tried(0.5, 0.9), tried(0.7, 0.5)],
        );
        assert_eq!(falling.chosen(), 2);
    }
}
