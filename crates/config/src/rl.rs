//! Reinforcement learning: how rewards become a loss.

use serde::{Deserialize, Serialize};

use crate::curve::Curve;
use crate::range;

/// `[method.dmdr.rl]`: the reinforcement learning term; its rewards are the `[[rewards]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReinforcementLearning {
    /// Weight of the term over generator updates; 0 during the cold start.
    #[serde(deserialize_with = "range::non_negative_curve")]
    pub weight: Curve,
    /// How rewards become a loss.
    pub algorithm: RlAlgorithm,
}

/// How rewards become a loss.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RlAlgorithm {
    /// `ReFL`: minus the reward of the student's clean prediction, differentiated through the reward.
    #[default]
    Refl,
    /// Diffusion-DPO on pairs of the student's own samples, ranked by reward.
    Dpo(Dpo),
    /// Group-relative policy optimisation of the stochastic few-step sampler.
    Grpo(Grpo),
}

impl RlAlgorithm {
    /// Name as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Refl => "refl",
            Self::Dpo(_) => "dpo",
            Self::Grpo(_) => "grpo",
        }
    }

    /// How groups of samples are drawn, if the algorithm compares samples.
    pub fn groups(&self) -> Option<Groups> {
        match self {
            Self::Refl => None,
            Self::Dpo(dpo) => Some(dpo.groups),
            Self::Grpo(grpo) => Some(grpo.groups),
        }
    }

    /// Whether the loss compares the student with a copy of it, taken when the term sets in.
    pub fn has_reference(&self) -> bool {
        match self {
            Self::Refl => false,
            Self::Dpo(dpo) => dpo.refresh_every != 1,
            Self::Grpo(grpo) => grpo.kl > 0.0,
        }
    }

    /// Whether that copy is taken anew before `update`.
    pub fn refreshes_reference(&self, update: u64) -> bool {
        match self {
            Self::Dpo(dpo) => dpo.refresh_every > 0 && update.is_multiple_of(dpo.refresh_every),
            Self::Refl | Self::Grpo(_) => false,
        }
    }
}

/// How many samples are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Groups {
    /// Prompts of the batch that are sampled in groups.
    #[serde(deserialize_with = "range::count")]
    pub num_prompts: usize,
    /// Samples of each of them; at least 2.
    #[serde(deserialize_with = "range::group")]
    pub size: usize,
}

/// `algorithm.dpo`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dpo {
    /// The best and the worst of a group are a pair.
    pub groups: Groups,
    /// Strength of the implicit KL to the reference, for errors in units of the flow's mean squared error.
    #[serde(deserialize_with = "range::positive")]
    pub beta: f64,
    /// Generator updates after which the reference, a copy of the student, is taken anew. 0: never, as in Diffusion-DPO,
    /// whose regulariser it is. 40: Flow-GRPO's online DPO. 1: the student is its own reference and no copy is kept; only
    /// where distribution matching is the regulariser.
    pub refresh_every: u64,
}

/// `algorithm.grpo`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grpo {
    /// Rewards are normalised within a group.
    pub groups: Groups,
    /// The stochastic sampler.
    pub transition: Transition,
    /// Whether the samples of a group start from the same noise, so that they differ in what the policy drew alone.
    pub shared_noise: bool,
    /// What a stochastic step counts.
    pub step_weighting: StepWeighting,
    /// Largest absolute advantage.
    #[serde(deserialize_with = "range::positive")]
    pub max_advantage: f64,
    /// The ratio of new to old probability is clipped to `1 +- clip`.
    #[serde(deserialize_with = "range::below_one")]
    pub clip: f64,
    /// Weight of the KL divergence to the reference; 0 where distribution matching is the regulariser.
    #[serde(deserialize_with = "range::non_negative")]
    pub kl: f64,
    /// Stochastic steps trained an update, drawn at random; at most the student's steps less one. 0 = all.
    pub num_train_steps: usize,
    /// Generator updates on the same samples; from the second on the ratio differs from 1.
    #[serde(deserialize_with = "range::count")]
    pub num_inner_updates: usize,
}

/// How noise enters a step of the sampler that GRPO trains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Transition {
    /// Coefficient-preserving sampling with this `eta` in `(0, 1]`: 1 renoises as the student's sampler does.
    CoefficientPreserving(#[serde(deserialize_with = "range::share")] f64),
    /// Flow-GRPO's SDE with this noise level.
    FlowSde(#[serde(deserialize_with = "range::positive")] f64),
}

/// What a stochastic step of the sampler counts in GRPO's surrogate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepWeighting {
    /// Its variance over the mean of all, so that late steps, whose noise is small, do not drown the early ones.
    Variance,
    /// 1, as in Flow-GRPO.
    Uniform,
}

/// `[method.rl]`: reinforcement learning alone, with the regulariser of each algorithm's authors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RlOnly {
    /// Number of generator updates.
    #[serde(deserialize_with = "range::positive_steps")]
    pub num_updates: u64,
    /// Prompts per update.
    #[serde(deserialize_with = "range::count")]
    pub batch_size: usize,
    /// How rewards become a loss. DPO is regularised by its reference, GRPO by `kl`.
    pub algorithm: RlAlgorithm,
    /// Weight of the pretraining loss on true images, `ReFL`'s regulariser; 0 for the others.
    #[serde(deserialize_with = "range::non_negative_curve")]
    pub pretraining: Curve,
}
