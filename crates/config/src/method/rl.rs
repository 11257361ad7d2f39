//! `[method.rl]`: reinforcement learning alone, the arms that Table 5 of arXiv 2511.13649 calls "only RL".

use serde::{Deserialize, Serialize};

use crate::curve::{self, Curve};
use crate::error::Problem;
use crate::net::NetSpec;
use crate::range;
use crate::recipe::{Plan, Recipe, RlPart, Setup};
use crate::rl::RlAlgorithm;

/// `[method.rl]`: reinforcement learning alone, with the regulariser of each algorithm's authors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RlAlone {
    /// Number of student updates.
    #[serde(deserialize_with = "range::positive_whole")]
    pub num_updates: u64,
    /// Prompts per update.
    #[serde(deserialize_with = "range::count")]
    pub batch_size: usize,
    /// How rewards become a loss. DPO is regularised by its reference, GRPO by `kl`.
    pub algorithm: RlAlgorithm,
    /// Weight of the pretraining loss on true images, `ReFL`'s regulariser; 0 for the others.
    #[serde(deserialize_with = "curve::non_negative")]
    pub pretraining: Curve,
}

impl Default for RlAlone {
    fn default() -> Self {
        Self {
            num_updates: 500,
            batch_size: 16,
            algorithm: RlAlgorithm::Refl,
            pretraining: Curve::Constant(0.0),
        }
    }
}

impl RlAlone {
    fn rl_part(&self) -> RlPart {
        RlPart {
            key: "method.rl",
            algorithm: self.algorithm,
            weight: Curve::Constant(1.0),
        }
    }
}

impl Recipe for RlAlone {
    fn title(&self) -> String {
        format!("{} alone", self.algorithm.title())
    }

    fn plan(&self) -> Plan {
        Plan {
            num_updates: self.num_updates,
            batch_size: self.batch_size,
            iterations: 1,
        }
    }

    fn nets(&self, setup: &Setup<'_>) -> Vec<NetSpec> {
        let mut nets = setup.student();
        nets.extend(self.rl_part().nets(setup));
        nets
    }

    /// It has the regulariser of its algorithm and no other.
    fn problems(&self, setup: &Setup<'_>) -> Vec<Problem> {
        let mut problems = self.rl_part().problems(self.plan(), setup);
        if self.algorithm != RlAlgorithm::Refl && self.pretraining.bounds().1 > 0.0 {
            problems.push(Problem::new(
                &["method.rl.pretraining", "method.rl.algorithm"],
                "the pretraining loss regularises ReFL; DPO has its reference and GRPO its `kl`",
                "remove `pretraining`",
            ));
        }
        if let RlAlgorithm::Dpo(dpo) = self.algorithm
            && dpo.refresh_every == 1
        {
            problems.push(Problem::new(
                &["method.rl.algorithm.dpo.refresh_every"],
                "a student that is its own reference has nothing that holds it back: there is no distribution matching here",
                "use 0, for a frozen reference, or more than 1",
            ));
        }
        problems.extend(setup.optimizer_problems(&self.nets(setup)));
        problems
    }

    fn rl(&self) -> Option<RlPart> {
        Some(self.rl_part())
    }

    fn has_other_terms(&self) -> bool {
        false
    }
}
