//! Reinforcement learning: how rewards become a loss.

use serde::{Deserialize, Serialize};

use crate::curve::{self, Curve};
use crate::range;

/// `[method.dmdr.rl]`: the reinforcement learning term; its rewards are the `[[rewards]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReinforcementLearning {
    /// Weight of the term over student updates; 0 during the cold start.
    #[serde(deserialize_with = "curve::non_negative")]
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

    /// As its paper writes it.
    pub fn title(&self) -> &'static str {
        match self {
            Self::Refl => "ReFL",
            Self::Dpo(_) => "DPO",
            Self::Grpo(_) => "GRPO",
        }
    }

    /// The same on groups for `times` as many prompts.
    #[must_use]
    pub fn on_more_groups(mut self, times: usize) -> Self {
        match &mut self {
            Self::Refl => {}
            Self::Dpo(Dpo { groups, .. }) | Self::Grpo(Grpo { groups, .. }) => {
                groups.num_prompts *= times;
            }
        }
        self
    }

    /// What it asks of the run.
    pub fn needs(&self) -> Needs {
        match *self {
            Self::Refl => Needs {
                reward_gradient: true,
                ..Needs::default()
            },
            Self::Dpo(dpo) => Needs {
                flow: true,
                groups: Some(dpo.groups),
                reference: match dpo.refresh_every {
                    0 => Some(Refresh::Never),
                    1 => None,
                    period => Some(Refresh::Every(period)),
                },
                ..Needs::default()
            },
            Self::Grpo(grpo) => Needs {
                flow: true,
                groups: Some(grpo.groups),
                reference: (grpo.kl > 0.0).then_some(Refresh::Never),
                stochastic_steps: Some(grpo.num_train_steps.max(1)),
                ..Needs::default()
            },
        }
    }
}

/// What an algorithm asks of the run.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Needs {
    /// Rewards whose gradient with respect to the image is known.
    pub reward_gradient: bool,
    /// The rectified flow as noise schedule.
    pub flow: bool,
    /// Several samples of a prompt, to be compared.
    pub groups: Option<Groups>,
    /// A frozen copy of the student, taken when the term sets in; when it is taken anew.
    pub reference: Option<Refresh>,
    /// Steps of the student's sampler with a likelihood: all but the last. At least so many of them.
    pub stochastic_steps: Option<usize>,
}

/// When a frozen copy is taken anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// It stays as it is.
    Never,
    /// Before every update that is a multiple of this.
    Every(u64),
}

impl Refresh {
    /// Whether it is taken anew before `update`.
    pub fn is_due(self, update: u64) -> bool {
        matches!(self, Self::Every(period) if update.is_multiple_of(period))
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
    /// Student updates after which the reference, a copy of the student, is taken anew. 0: never, as in Diffusion-DPO,
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
    /// Student updates on the same samples; from the second on the ratio differs from 1.
    #[serde(deserialize_with = "range::count")]
    pub num_inner_updates: usize,
}

/// How noise enters a step of the sampler that GRPO trains.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Transition {
    /// Coefficient-preserving sampling (arXiv 2509.05952) with this `eta` in `(0, 1]`: the noise level of the step is exact,
    /// a share of the noise is fresh. `std = t' sin(eta pi / 2)`: 1 predicts and renoises as few-step students do.
    CoefficientPreserving(#[serde(deserialize_with = "range::share")] f64),
    /// Flow-GRPO's SDE (arXiv 2505.05470), `g = a sqrt(t / (1 - t))`, with this noise level `a`; marginals are kept as steps
    /// become small.
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

impl Default for ReinforcementLearning {
    fn default() -> Self {
        Self {
            weight: Curve::Constant(1.0),
            algorithm: RlAlgorithm::Refl,
        }
    }
}

impl Default for Groups {
    fn default() -> Self {
        Self {
            num_prompts: 4,
            size: 8,
        }
    }
}

/// `beta` as in Flow-GRPO's online DPO.
impl Default for Dpo {
    fn default() -> Self {
        Self {
            groups: Groups::default(),
            beta: 100.0,
            refresh_every: 0,
        }
    }
}

/// Inside DMDR: no KL, distribution matching is the regulariser.
impl Default for Grpo {
    fn default() -> Self {
        Self {
            groups: Groups::default(),
            transition: Transition::CoefficientPreserving(0.9),
            shared_noise: true,
            step_weighting: StepWeighting::Variance,
            max_advantage: 5.0,
            clip: 1e-4,
            kl: 0.0,
            num_train_steps: 0,
            num_inner_updates: 1,
        }
    }
}
