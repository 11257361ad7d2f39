//! `[method.*]`: what is optimised. Names are those of arXiv 2511.13649.

mod dmd2;
mod dmdr;
mod external;
mod lcm;
mod rl;
mod terms;

use serde::{Deserialize, Serialize};

use crate::recipe::Recipe;

pub use dmd2::{Dmd2, Gan};
pub use dmdr::Dmdr;
pub use external::External;
pub use lcm::{Consistency, Lcm};
pub use rl::RlAlone;
pub use terms::{Augmentation, DistributionMatching, FakeScoreLoss};

/// The method.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Distribution matching distillation with reinforcement learning; without `rl`, plain DMD.
    Dmdr(Box<Dmdr>),
    /// Distribution matching with a discriminator.
    Dmd2(Box<Dmd2>),
    /// Consistency along the teacher's trajectories.
    Lcm(Box<Lcm>),
    /// Reinforcement learning alone: what distribution matching is compared with.
    Rl(Box<RlAlone>),
    /// A method that another program brings along.
    External(Box<External>),
}

impl Method {
    /// Its part of the contract.
    pub fn recipe(&self) -> &dyn Recipe {
        match self {
            Self::Dmdr(dmdr) => &**dmdr,
            Self::Dmd2(dmd2) => &**dmd2,
            Self::Lcm(lcm) => &**lcm,
            Self::Rl(rl) => &**rl,
            Self::External(external) => &**external,
        }
    }

    /// Its name as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Dmdr(_) => "dmdr",
            Self::Dmd2(_) => "dmd2",
            Self::Lcm(_) => "lcm",
            Self::Rl(_) => "rl",
            Self::External(_) => "external",
        }
    }
}
