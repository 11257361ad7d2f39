//! The arms of the second stage, and the learning rates that each may choose from.

use std::path::Path;

use dmdr_config::{Curve, Dpo, Experiment, Groups, Grpo, NetId, RlAlgorithm};

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

    /// Learning rates of the student that it chooses from on validation prompts; a tenth of it at the end. Without
    /// distribution matching the smaller of the others' is the larger of its own: higher ones are worse for every algorithm
    /// (docs/log/2026-11-28.md).
    pub(super) fn rates(self) -> [f64; 2] {
        match self {
            Self::Distil | Self::Both(_) => [1e-4, 5e-5],
            Self::Only(_) => [5e-5, 2.5e-5],
        }
    }

    fn compares_samples(self) -> bool {
        match self {
            Self::Distil => false,
            Self::Only(rl) | Self::Both(rl) => rl != Rl::Refl,
        }
    }

    /// `updates` updates from the cold start in `init` on.
    pub(super) fn experiment(
        self,
        base: &Experiment,
        init: &Path,
        updates: u64,
        lr: f64,
    ) -> Experiment {
        let mut experiment = match self {
            Self::Distil => joint(base, init, updates, None),
            Self::Both(rl) => joint(base, init, updates, Some((rl.lambda(), rl.beside_dm()))),
            Self::Only(rl) => {
                let pretraining = if rl == Rl::Refl { PRETRAINING } else { 0.0 };
                rl_only(base, init, updates, rl.alone(), pretraining)
            }
        };
        if self.compares_samples() {
            // Groups normalise every reward; the base's weights make `ReFL`'s gradients alike.
            for reward in &mut experiment.rewards {
                reward.weight = Curve::Constant(1.0);
            }
        }
        experiment.optim.get_mut(NetId::STUDENT).lr = Curve::Cosine {
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
/// Weight of the pretraining loss beside `ReFL` alone.
pub(super) const PRETRAINING: f64 = 3.0;
/// Weight of the KL to the reference beside GRPO alone.
pub(super) const KL: f64 = 0.002;
/// Updates after which DPO's reference is taken anew beside distribution matching, as in Flow-GRPO's online DPO.
pub(super) const REFRESH_EVERY: u64 = 40;

impl Rl {
    /// Weight beside distribution matching, whose gradient has a norm of .55; that of `ReFL` has 2.7, DPO's 16, GRPO's .04.
    pub(super) fn lambda(self) -> f64 {
        match self {
            Self::Refl | Self::Dpo => 0.1,
            Self::Grpo => 50.0,
        }
    }

    /// The algorithm where distribution matching is the only regulariser.
    fn beside_dm(self) -> RlAlgorithm {
        self.algorithm(0.0, REFRESH_EVERY)
    }

    /// The algorithm with its authors' regulariser.
    fn alone(self) -> RlAlgorithm {
        self.algorithm(KL, 0)
    }

    fn algorithm(self, kl: f64, refresh_every: u64) -> RlAlgorithm {
        let groups = GROUPS;
        match self {
            Self::Refl => RlAlgorithm::Refl,
            Self::Dpo => RlAlgorithm::Dpo(Dpo {
                groups,
                refresh_every,
                ..Dpo::default()
            }),
            Self::Grpo => RlAlgorithm::Grpo(Grpo {
                groups,
                kl,
                ..Grpo::default()
            }),
        }
    }
}
