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

/// Learning rates of the student that every arm chooses from on validation prompts; a tenth of it at the end.
pub(super) const RATES: [f64; 3] = [2e-4, 1e-4, 5e-5];

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

    /// Of the term beside the arm's main one: the regulariser of reinforcement learning alone (the pretraining loss, beta,
    /// the KL), or lambda; none in distillation alone.
    ///
    /// With them the gradients of an arm's terms are of the same order. Their norms on a distilled student: distribution
    /// matching .8, `ReFL` 2.7, DPO 15, GRPO .04, the pretraining loss .8.
    fn weight(self) -> Option<f64> {
        Some(match self {
            Self::Distil => return None,
            Self::Only(Rl::Refl) => 3.0,
            Self::Only(Rl::Dpo) => 100.0,
            Self::Only(Rl::Grpo) => 0.002,
            Self::Both(Rl::Refl | Rl::Dpo) => 0.1,
            Self::Both(Rl::Grpo) => 50.0,
        })
    }

    /// `updates` updates from the cold start in `init` on.
    pub(super) fn experiment(
        self,
        base: &Experiment,
        init: &Path,
        updates: u64,
        lr: f64,
    ) -> Experiment {
        let weight = self.weight().unwrap_or(0.0);
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
    num_prompts: 4,
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
