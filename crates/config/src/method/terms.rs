//! Loss terms that methods share, each with its rules.

use serde::{Deserialize, Serialize};

use crate::curve::{self, Curve};
use crate::error::Problem;
use crate::networks::FakeForm;
use crate::range;
use crate::recipe::Setup;
use crate::time::TimeDistribution;

/// `dm`: the distribution matching loss (Eq. 1).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DistributionMatching {
    /// Weight of the term over student updates.
    #[serde(deserialize_with = "curve::non_negative")]
    pub weight: Curve,
    /// `DynaDG`: scale of the fake score's adapter in the real score; 0 = the teacher itself.
    #[serde(deserialize_with = "curve::non_negative")]
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

/// `dm.augmentation`: the guidance term `(w - 1) (x0_c - x0_u)` of Decoupled DMD (arXiv 2511.22677).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Augmentation {
    /// Weight beside the matching of distributions, which has weight 1.
    #[serde(deserialize_with = "curve::non_negative")]
    pub weight: Curve,
    /// Distribution of its renoise time, as a share of the student's input time if `below_input`.
    pub renoise: TimeDistribution,
    /// Renoise only to times below the one the student's input had.
    pub below_input: bool,
}

/// `fake_score`: the denoising loss on the student's samples.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FakeScoreLoss {
    /// Distribution of the training time of the fake score.
    pub renoise: TimeDistribution,
}

impl Default for DistributionMatching {
    fn default() -> Self {
        Self {
            weight: Curve::Constant(1.0),
            real_scale: Curve::Constant(0.0),
            renoise: TimeDistribution::Uniform,
            normalize: true,
            guidance: None,
            augmentation: None,
        }
    }
}

/// The hybrid that works best in the Decoupled DMD paper.
impl Default for Augmentation {
    fn default() -> Self {
        Self {
            weight: Curve::Constant(1.0),
            renoise: TimeDistribution::Uniform,
            below_input: true,
        }
    }
}

impl DistributionMatching {
    /// Rules of the term under `key` that are broken.
    pub(super) fn problems(&self, key: &str, setup: &Setup<'_>) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.weight.bounds().1 == 0.0 {
            problems.push(Problem::new(
                &[&format!("{key}.weight")],
                "it is 0 at every update, so nothing keeps the student at the teacher's distribution",
                "give it a positive weight, or use `[method.rl]` for reinforcement learning alone",
            ));
        }
        if setup.fake_score.form == FakeForm::Full && self.real_scale.bounds().1 > 0.0 {
            problems.push(Problem::new(
                &[&format!("{key}.real_scale"), "fake_score.form"],
                "DynaDG gives the real score a dose of the fake score's adapter, and a full fake score has none",
                "set `real_scale` to 0, or train an adapter",
            ));
        }
        problems
    }

    /// What is allowed under `key` but probably not meant.
    pub(super) fn warnings(&self, key: &str, setup: &Setup<'_>) -> Option<String> {
        let (_, real_scale) = self.real_scale.bounds();
        (real_scale > setup.fake_score.scale).then(|| {
            format!(
                "`{key}.real_scale` reaches {real_scale}, above `fake_score.scale` = {}: the real \
                 score is then further along the adapter than the fake score, and distribution matching \
                 pushes the student away from the teacher",
                setup.fake_score.scale
            )
        })
    }

    /// Keys of what is annealed, and the update that each settles at.
    pub(super) fn anneals(&self, key: &str) -> [(String, u64); 2] {
        [
            (format!("{key}.real_scale"), self.real_scale.settled_at()),
            (format!("{key}.renoise"), self.renoise.settled_at()),
        ]
    }
}

impl FakeScoreLoss {
    /// As [`DistributionMatching::anneals`].
    pub(super) fn anneals(&self, key: &str) -> [(String, u64); 1] {
        [(format!("{key}.renoise"), self.renoise.settled_at())]
    }
}
