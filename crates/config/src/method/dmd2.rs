//! `[method.dmd2]`: improved distribution matching distillation (arXiv 2405.14867).

use serde::{Deserialize, Serialize};

use super::terms::{DistributionMatching, FakeScoreLoss};
use crate::curve::{self, Curve};
use crate::error::Problem;
use crate::net::{Motion, NetForm, NetId, NetSpec, Start};
use crate::range;
use crate::recipe::{Plan, Recipe, Setup};
use crate::time::TimeDistribution;

/// Distribution matching and a discriminator on the fake score's features.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dmd2 {
    /// Number of student updates.
    #[serde(deserialize_with = "range::positive_whole")]
    pub num_updates: u64,
    /// Prompts per update.
    #[serde(deserialize_with = "range::count")]
    pub batch_size: usize,
    /// Iterations per update, each trains fake score and discriminator (two time-scale update rule).
    #[serde(deserialize_with = "range::positive_whole")]
    pub ttur: u64,
    /// The distribution matching term.
    pub dm: DistributionMatching,
    /// The denoising loss of the fake score.
    pub fake_score: FakeScoreLoss,
    /// The adversarial term; absent = none, and no true images are needed.
    pub gan: Option<Gan>,
}

/// `[method.dmd2.gan]`: a discriminator tells the student's images from true ones, both noised to the same times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gan {
    /// Weight of the student's term `softplus(-D(x))`.
    #[serde(deserialize_with = "curve::non_negative")]
    pub weight: Curve,
    /// Weight of the discriminator's loss `softplus(D(x)) + softplus(-D(true))` beside the fake score's. Both train the fake
    /// score, whose features the discriminator reads.
    #[serde(deserialize_with = "curve::positive")]
    pub discriminator_weight: Curve,
    /// Distribution of the times that images are noised to before they are judged.
    pub renoise: TimeDistribution,
    /// Blocks of the network whose outputs are judged, ascending from 0; absent = the middle one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Vec<usize>>,
    /// Width of a head.
    #[serde(deserialize_with = "range::width")]
    pub dim: usize,
}

/// Rates and weights of DMD2 on SDXL.
impl Default for Dmd2 {
    fn default() -> Self {
        Self {
            num_updates: 500,
            batch_size: 16,
            ttur: 5,
            dm: DistributionMatching::default(),
            fake_score: FakeScoreLoss::default(),
            gan: None,
        }
    }
}

impl Default for Gan {
    fn default() -> Self {
        Self {
            weight: Curve::Constant(5e-3),
            discriminator_weight: Curve::Constant(1e-2),
            renoise: TimeDistribution::Uniform,
            blocks: None,
            dim: 64,
        }
    }
}

impl Recipe for Dmd2 {
    fn title(&self) -> String {
        "DMD2 (arXiv 2405.14867)".to_owned()
    }

    fn plan(&self) -> Plan {
        Plan {
            num_updates: self.num_updates,
            batch_size: self.batch_size,
            iterations: self.ttur,
        }
    }

    fn nets(&self, setup: &Setup<'_>) -> Vec<NetSpec> {
        let mut nets = setup.student();
        nets.push(setup.fake_score());
        nets.extend(self.gan.as_ref().map(|gan| NetSpec {
            id: NetId::DISCRIMINATOR,
            form: NetForm::Heads {
                blocks: gan.blocks.clone(),
                dim: gan.dim,
            },
            start: Start::Teacher,
            motion: Motion::Trained,
        }));
        nets
    }

    fn problems(&self, setup: &Setup<'_>) -> Vec<Problem> {
        let mut problems = self.dm.problems("method.dmd2.dm", setup);
        let truth = setup.true_images_problem("method.dmd2.gan");
        problems.extend(truth.filter(|_| self.gan.is_some()));
        let blocks = self.gan.as_ref().and_then(|gan| gan.blocks.as_ref());
        let is_bad = |blocks: &&Vec<usize>| {
            blocks.is_empty() || !blocks.is_sorted_by(|one, next| one < next)
        };
        problems.extend(blocks.filter(is_bad).map(|blocks| {
            Problem::new(
                &["method.dmd2.gan.blocks"],
                format!("{blocks:?} names no block, or not in ascending order"),
                "name blocks from 0 on, such as `[2, 4]`, or leave the key out for the middle one",
            )
        }));
        problems.extend(setup.optimizer_problems(&self.nets(setup)));
        problems
    }

    fn warnings(&self, setup: &Setup<'_>) -> Vec<String> {
        let mut warnings = Vec::from_iter(self.dm.warnings("method.dmd2.dm", setup));
        let is_idle = |gan: &Gan| gan.weight.bounds().1 == 0.0;
        if self.gan.as_ref().is_some_and(is_idle) {
            let idle = "`method.dmd2.gan.weight` is 0 at every update: the discriminator is trained for nothing";
            warnings.push(idle.to_owned());
        }
        warnings
    }

    fn anneals(&self) -> Vec<(String, u64)> {
        let dm = self.dm.anneals("method.dmd2.dm");
        let fake_score = self.fake_score.anneals("method.dmd2.fake_score");
        dm.into_iter().chain(fake_score).collect()
    }
}
