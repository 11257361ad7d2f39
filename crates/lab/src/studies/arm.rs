//! The arms of the second stage, and the settings that each may choose from.

use std::path::Path;

use dmdr_config::{Curve, Dpo, Experiment, Groups, Grpo, RlAlgorithm};

use crate::emoji::{joint, rl_only};

/// A reinforcement learning algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rl {
    Refl,
    Dpo,
    Grpo,
}

/// What is done from the cold start on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arm {
    /// Distribution matching goes on.
    Distil,
    /// Reinforcement learning alone, with its authors' regulariser.
    Only(Rl),
    /// Both.
    Both(Rl),
}

/// What an arm chooses for itself on validation prompts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    /// Learning rate of the student at first; a tenth of it at the end.
    lr: f64,
    /// Of what the arm weighs: see [`Arm::weighs`].
    weight: f64,
}

impl Arm {
    /// All of Table 5.
    pub(super) const ALL: [Self; 7] = [
        Self::Distil,
        Self::Only(Rl::Refl),
        Self::Both(Rl::Refl),
        Self::Only(Rl::Dpo),
        Self::Both(Rl::Dpo),
        Self::Only(Rl::Grpo),
        Self::Both(Rl::Grpo),
    ];

    /// As in the table.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Distil => "distil only",
            Self::Only(Rl::Refl) => "ReFL only",
            Self::Only(Rl::Dpo) => "DPO only",
            Self::Only(Rl::Grpo) => "GRPO only",
            Self::Both(Rl::Refl) => "distil + ReFL",
            Self::Both(Rl::Dpo) => "distil + DPO",
            Self::Both(Rl::Grpo) => "distil + GRPO",
        }
    }

    fn compares_samples(self) -> bool {
        match self {
            Self::Distil => false,
            Self::Only(rl) | Self::Both(rl) => rl != Rl::Refl,
        }
    }

    /// What the arm weighs, and two values for it; nothing in distillation alone.
    ///
    /// The values make the gradients of both terms of an arm of the same order. Their norms on a distilled student:
    /// distribution matching .5, `ReFL` 2.7, DPO 13, GRPO .07, the pretraining loss .8.
    fn weighs(self) -> Option<(&'static str, [f64; 2])> {
        Some(match self {
            Self::Distil => return None,
            Self::Only(Rl::Refl) => ("weight of the pretraining loss", [3.0, 10.0]),
            Self::Only(Rl::Dpo) => ("beta", [100.0, 500.0]),
            Self::Only(Rl::Grpo) => ("weight of the KL", [0.004, 0.04]),
            Self::Both(Rl::Refl) => ("lambda", [0.1, 0.3]),
            Self::Both(Rl::Dpo) => ("lambda", [0.03, 0.1]),
            Self::Both(Rl::Grpo) => ("lambda", [3.0, 10.0]),
        })
    }

    /// Four for every arm.
    pub(super) fn candidates(self) -> Vec<Settings> {
        match self.weighs() {
            None => [2e-4, 1e-4, 5e-5, 2.5e-5]
                .map(|lr| Settings { lr, weight: 0.0 })
                .to_vec(),
            Some((_, weights)) => [2e-4, 5e-5]
                .map(|lr| weights.map(|weight| Settings { lr, weight }))
                .concat(),
        }
    }

    /// E.g. "rate 5e-5, lambda 0.3".
    pub(super) fn describe(self, settings: Settings) -> String {
        let Settings { lr, weight } = settings;
        match self.weighs() {
            None => format!("rate {lr:e}"),
            Some((what, _)) => format!("rate {lr:e}, {what} {weight}"),
        }
    }

    /// `updates` updates from the cold start in `init` on.
    pub(super) fn experiment(
        self,
        base: &Experiment,
        init: &Path,
        updates: u64,
        settings: Settings,
    ) -> Experiment {
        let Settings { lr, weight } = settings;
        let mut experiment = match self {
            Self::Distil => joint(base, init, updates, None),
            Self::Both(rl) => joint(base, init, updates, Some((weight, rl.algorithm()))),
            Self::Only(Rl::Refl) => rl_only(base, init, updates, RlAlgorithm::Refl, weight),
            Self::Only(Rl::Dpo) => {
                let algorithm = RlAlgorithm::Dpo(Dpo {
                    beta: weight,
                    groups: GROUPS,
                });
                rl_only(base, init, updates, algorithm, 0.0)
            }
            Self::Only(Rl::Grpo) => {
                let algorithm = RlAlgorithm::Grpo(Grpo {
                    kl: weight,
                    groups: GROUPS,
                    ..Grpo::default()
                });
                rl_only(base, init, updates, algorithm, 0.0)
            }
        };
        if self.compares_samples() {
            // Groups normalise every reward; the base's weights make `ReFL`'s gradients alike.
            for reward in &mut experiment.rewards {
                reward.weight = Curve::Constant(1.0);
            }
        }
        experiment.optim.generator.lr = Curve::Cosine {
            from: lr,
            to: 0.1 * lr,
            over: updates,
        };
        experiment
    }
}

/// What DPO and GRPO compare.
pub(super) const GROUPS: Groups = Groups {
    num_prompts: 8,
    size: 6,
};

impl Rl {
    /// Beside distribution matching.
    fn algorithm(self) -> RlAlgorithm {
        match self {
            Self::Refl => RlAlgorithm::Refl,
            Self::Dpo => RlAlgorithm::Dpo(Dpo {
                groups: GROUPS,
                ..Dpo::default()
            }),
            Self::Grpo => RlAlgorithm::Grpo(Grpo {
                groups: GROUPS,
                ..Grpo::default()
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_arm_has_the_same_budget() {
        for arm in Arm::ALL {
            let candidates = arm.candidates().into_iter();
            let different: BTreeSet<_> = candidates.map(|c| arm.describe(c)).collect();
            assert_eq!(different.len(), 4, "{different:?}");
        }
    }
}
