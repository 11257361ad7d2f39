//! `[method.dmdr]`: `L = w_dm L_dm + w_rl L_rl` (Eq. 2).

use serde::{Deserialize, Serialize};

use super::terms::{DistributionMatching, FakeScoreLoss};
use crate::error::Problem;
use crate::net::NetSpec;
use crate::range;
use crate::recipe::{Plan, Recipe, RlPart, Setup};
use crate::rl::ReinforcementLearning;

/// `[method.dmdr]`: `L = w_dm L_dm + w_rl L_rl` (Eq. 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dmdr {
    /// Number of student updates.
    #[serde(deserialize_with = "range::positive_whole")]
    pub num_updates: u64,
    /// Prompts per update.
    #[serde(deserialize_with = "range::count")]
    pub batch_size: usize,
    /// Fake-score updates per student update (two time-scale update rule).
    #[serde(deserialize_with = "range::positive_whole")]
    pub ttur: u64,
    /// The distribution matching term.
    pub dm: DistributionMatching,
    /// The denoising loss of the fake score.
    pub fake_score: FakeScoreLoss,
    /// The reinforcement learning term; absent = distribution matching only.
    pub rl: Option<ReinforcementLearning>,
}

/// Plain DMD: no dynamic guidance, uniform renoise, no reinforcement learning.
impl Default for Dmdr {
    fn default() -> Self {
        Self {
            num_updates: 500,
            batch_size: 16,
            ttur: 3,
            dm: DistributionMatching::default(),
            fake_score: FakeScoreLoss::default(),
            rl: None,
        }
    }
}

impl Recipe for Dmdr {
    fn title(&self) -> String {
        match &self.rl {
            Some(rl) => format!("DMDR (arXiv 2511.13649) with {}", rl.algorithm.title()),
            None => "DMD (arXiv 2311.18828)".to_owned(),
        }
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
        nets.extend(Recipe::rl(self).and_then(|rl| rl.nets(setup)));
        nets
    }

    fn problems(&self, setup: &Setup<'_>) -> Vec<Problem> {
        let rl = Recipe::rl(self);
        let mut problems = rl.map_or_else(Vec::new, |rl| rl.problems(self.plan(), setup));
        problems.extend(self.dm.problems("method.dmdr.dm", setup));
        problems.extend(setup.optimizer_problems(&self.nets(setup)));
        problems
    }

    fn warnings(&self, setup: &Setup<'_>) -> Vec<String> {
        let updates = self.num_updates;
        let mut warnings = Vec::from_iter(self.dm.warnings("method.dmdr.dm", setup));
        if let Some(rl) = &self.rl
            && rl.weight.at(updates.saturating_sub(1)) == 0.0
            && rl.weight.at(0) == 0.0
        {
            warnings.push(format!(
                "`method.dmdr.rl.weight` is 0 for all {updates} updates: no reward is trained on"
            ));
        }
        warnings
    }

    fn anneals(&self) -> Vec<(String, u64)> {
        let dm = self.dm.anneals("method.dmdr.dm");
        let fake_score = self.fake_score.anneals("method.dmdr.fake_score");
        dm.into_iter().chain(fake_score).collect()
    }

    fn rl_table(&self) -> Option<&'static str> {
        Some("[method.dmdr.rl]")
    }

    fn rl(&self) -> Option<RlPart> {
        self.rl.as_ref().map(|rl| RlPart {
            key: "method.dmdr.rl",
            algorithm: rl.algorithm,
            weight: rl.weight,
        })
    }
}
