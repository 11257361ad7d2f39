//! `[method.*]`: what is optimised. Names are those of arXiv 2511.13649.

use serde::{Deserialize, Serialize};

use crate::curve::Curve;
use crate::range;
use crate::time::TimeDistribution;

/// The distillation method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Distribution matching distillation with reinforcement learning; without `rl`, plain DMD.
    Dmdr(Box<Dmdr>),
}

impl Method {
    /// Number of generator updates of the run.
    pub fn num_updates(&self) -> u64 {
        match self {
            Self::Dmdr(dmdr) => dmdr.num_updates,
        }
    }

    /// Name of the method as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dmdr(_) => "dmdr",
        }
    }
}

/// `[method.dmdr]`: `L = w_dm L_dm + w_rl L_rl` (Eq. 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dmdr {
    /// Number of generator updates.
    #[serde(deserialize_with = "range::positive_steps")]
    pub num_updates: u64,
    /// Prompts per update.
    #[serde(deserialize_with = "range::count")]
    pub batch_size: usize,
    /// Fake-score updates per generator update (two time-scale update rule).
    #[serde(deserialize_with = "range::positive_steps")]
    pub ttur: u64,
    /// The distribution matching term.
    pub dm: DistributionMatching,
    /// The denoising loss of the fake score.
    pub score: Score,
    /// The reinforcement learning term; absent = distribution matching only.
    pub rl: Option<ReinforcementLearning>,
}

/// `[method.dmdr.dm]`: the distribution matching loss (Eq. 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistributionMatching {
    /// Weight of the term over generator updates.
    #[serde(deserialize_with = "range::non_negative_curve")]
    pub weight: Curve,
    /// `DynaDG`: scale of the fake score's adapter in the real score; 0 = the teacher itself.
    #[serde(deserialize_with = "range::non_negative_curve")]
    pub real_scale: Curve,
    /// `DynaRS`: distribution of the renoise time.
    pub renoise: TimeDistribution,
    /// Divide each sample's gradient by its mean `|x0 - x0_real|`.
    pub normalize: bool,
}

/// `[method.dmdr.score]`: the denoising loss on the student's samples.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Score {
    /// Distribution of the training time of the fake score.
    pub renoise: TimeDistribution,
}

/// `[method.dmdr.rl]`: the reinforcement learning loss; its rewards are the `[[rewards]]`.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RlAlgorithm {
    /// `ReFL`: minus the reward of the student's clean prediction, differentiated through the reward.
    #[default]
    Refl,
}
