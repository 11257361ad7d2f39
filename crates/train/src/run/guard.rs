//! The stop rule against reward hacking: patience on a metric that no reward model is trained on.

use dmdr_config::{Experiment, Guard as Config, GuardAction, RlPart};
use dmdr_events::{Kind, Record};

/// What a guard makes of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// A new best: this student is to be kept.
    Best,
    /// No new best, within patience; or the metric is not watched yet.
    Wait,
    /// The weight of reinforcement learning is now multiplied by this.
    Lowered(f64),
    /// The run is to end with the best student.
    Stop,
}

/// Follows the watched metric. Its state is a fold over the run's evaluations, so a resumed run rebuilds it from its log.
#[derive(Debug)]
pub(crate) struct Guard<'a> {
    config: &'a Config,
    rl: Option<RlPart>,
    best: f64,
    since_best: u64,
    rl_factor: f64,
    has_stopped: bool,
}

impl<'a> Guard<'a> {
    /// The guard of `experiment`, if it has one, after the evaluations in `log`. `rl` is what the method's recipe has.
    pub(crate) fn new(
        experiment: &'a Experiment,
        rl: Option<RlPart>,
        log: &[Record],
    ) -> Option<Self> {
        let mut guard = Self {
            config: experiment.guard.as_ref()?,
            rl,
            best: f64::NEG_INFINITY,
            since_best: 0,
            rl_factor: 1.0,
            has_stopped: false,
        };
        for record in log.iter().filter(|record| record.kind == Kind::Evaluate) {
            if let Some(value) = record.values.get(guard.metric()) {
                guard.observe(record.update, *value);
            }
        }
        Some(guard)
    }

    /// What is watched, as in the log.
    pub(crate) fn metric(&self) -> &'a str {
        self.config.logged()
    }

    /// What is left of the weight of reinforcement learning.
    pub(crate) fn rl_factor(&self) -> f64 {
        self.rl_factor
    }

    /// Whether the run is over.
    pub(crate) fn has_stopped(&self) -> bool {
        self.has_stopped
    }

    /// Takes the metric's `value` after update `update`.
    pub(crate) fn observe(&mut self, update: u64, value: f64) -> Verdict {
        if !self.watches(update) {
            return Verdict::Wait;
        }
        if value > self.best {
            self.best = value;
            self.since_best = 0;
            return Verdict::Best;
        }
        self.since_best += 1;
        if self.since_best < self.config.patience {
            return Verdict::Wait;
        }
        self.since_best = 0;
        match self.config.action {
            GuardAction::LowerRl(factor) => {
                self.rl_factor *= factor;
                Verdict::Lowered(self.rl_factor)
            }
            GuardAction::Stop => {
                self.has_stopped = true;
                Verdict::Stop
            }
        }
    }

    /// The cold start is no reference: there, metrics move for reasons of their own.
    fn watches(&self, update: u64) -> bool {
        self.rl.is_none_or(|rl| rl.weight.at(update) > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn experiment(action: &str) -> Experiment {
        let text = format!(
            r#"
            name = "x"
            guard = {{ metric = "geneval", patience = 2, action = {action} }}
            [method.dmdr]
            num_updates = 500
            [method.dmdr.rl]
            weight = {{ step = {{ from = 0.0, to = 0.3, at = 100 }} }}
            [[rewards]]
            [rewards.model.preference]
            weights = "preference.safetensors"
            [optim]
            student = {{ lr = 1e-4 }}
            fake_score = {{ lr = 1e-4 }}
            [events]
            evaluate_every = 50
            "#
        );
        Experiment::parse(Path::new("x.toml"), &text, &[]).expect("valid")
    }

    fn rl(experiment: &Experiment) -> Option<RlPart> {
        experiment.method.recipe().rl()
    }

    fn verdicts(guard: &mut Guard<'_>, values: &[f64]) -> Vec<Verdict> {
        (0..)
            .zip(values)
            .map(|(index, value)| guard.observe(50 * index + 49, *value))
            .collect()
    }

    #[test]
    fn patience_counts_from_the_first_joint_evaluation() {
        use Verdict::{Best, Lowered, Wait};
        let experiment = experiment("{ lower_rl = 0.5 }");
        let mut guard = Guard::new(&experiment, rl(&experiment), &[]).expect("configured");
        let found = verdicts(&mut guard, &[0.9, 0.8, 0.5, 0.5, 0.4, 0.6, 0.6, 0.6]);
        assert_eq!(
            found,
            [
                Wait,
                Wait,
                Best,
                Wait,
                Lowered(0.5),
                Best,
                Wait,
                Lowered(0.25)
            ]
        );
        assert!((guard.rl_factor() - 0.25).abs() < 1e-15);
        assert!(!guard.has_stopped());
    }

    #[test]
    fn the_log_rebuilds_the_state() {
        let experiment = experiment("\"stop\"");
        let records: Vec<Record> = (0..)
            .zip([0.1, 0.2, 0.5, 0.4])
            .map(|(index, value)| {
                Record::new(
                    50 * index + 49,
                    Kind::Evaluate,
                    0.0,
                    [("geneval/overall", value)],
                )
            })
            .collect();
        let mut guard = Guard::new(&experiment, rl(&experiment), &records).expect("configured");
        assert_eq!(guard.observe(249, 0.45), Verdict::Stop);
        assert!(guard.has_stopped());
    }

    #[test]
    fn nothing_is_watched_without_a_guard() {
        let mut experiment = experiment("\"stop\"");
        experiment.guard = None;
        assert!(Guard::new(&experiment, rl(&experiment), &[]).is_none());
    }
}
