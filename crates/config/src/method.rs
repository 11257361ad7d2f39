//! `[method.*]`: what is optimised. Names are those of arXiv 2511.13649.

use serde::{Deserialize, Serialize};

use crate::curve::Curve;
use crate::range;
use crate::rl::{ReinforcementLearning, RlAlgorithm, RlOnly};
use crate::time::TimeDistribution;

/// The distillation method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Distribution matching distillation with reinforcement learning; without `rl`, plain DMD.
    Dmdr(Box<Dmdr>),
    /// Reinforcement learning alone: what distribution matching is compared with.
    Rl(Box<RlOnly>),
}

impl Method {
    /// Number of generator updates of the run.
    pub fn num_updates(&self) -> u64 {
        match self {
            Self::Dmdr(dmdr) => dmdr.num_updates,
            Self::Rl(rl) => rl.num_updates,
        }
    }

    /// Prompts per update.
    pub fn batch_size(&self) -> usize {
        match self {
            Self::Dmdr(dmdr) => dmdr.batch_size,
            Self::Rl(rl) => rl.batch_size,
        }
    }

    /// Rollouts per generator update, each followed by an update of the fake score if the method has one.
    pub fn ttur(&self) -> u64 {
        match self {
            Self::Dmdr(dmdr) => dmdr.ttur,
            Self::Rl(_) => 1,
        }
    }

    /// How rewards become a loss, if there is a reinforcement learning term.
    pub fn rl_algorithm(&self) -> Option<RlAlgorithm> {
        match self {
            Self::Dmdr(dmdr) => dmdr.rl.as_ref().map(|rl| rl.algorithm),
            Self::Rl(rl) => Some(rl.algorithm),
        }
    }

    /// Where the term stands in the file.
    pub fn rl_key(&self) -> &'static str {
        match self {
            Self::Dmdr(_) => "method.dmdr.rl",
            Self::Rl(_) => "method.rl",
        }
    }

    /// Name of the method as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dmdr(_) => "dmdr",
            Self::Rl(_) => "rl",
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
    /// The lowest and the highest guidance of the real score: each update draws one between them, for its whole batch, by
    /// the run's seed. Absent = `teacher.guidance`, which the sampled teacher keeps in any case.
    #[serde(
        deserialize_with = "range::guidance_range",
        skip_serializing_if = "Option::is_none"
    )]
    pub guidance: Option<[f64; 2]>,
    /// Decoupled DMD: guidance acts as a term of its own at its own renoise time; absent = inside the real score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<Augmentation>,
}

/// `[method.dmdr.dm.augmentation]`: the guidance term `(w - 1) (x0_c - x0_u)` of Decoupled DMD (arXiv 2511.22677).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Weight beside the matching of distributions, which has weight 1.
    #[serde(deserialize_with = "range::non_negative_curve")]
    pub weight: Curve,
    /// Distribution of its renoise time, as a share of the student's input time if `below_input`.
    pub renoise: TimeDistribution,
    /// Renoise only to times below the one the student's input had.
    pub below_input: bool,
}

/// `[method.dmdr.score]`: the denoising loss on the student's samples.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Score {
    /// Distribution of the training time of the fake score.
    pub renoise: TimeDistribution,
}
