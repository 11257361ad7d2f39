//! Distribution of the renoise or training time `t in [0, 1]` (`t = 1` is noise).

use serde::{Deserialize, Serialize};

use crate::curve::{self, Curve};

/// How a time `t in [0, 1]` is drawn.
///
/// Deviation: the official demo calls its annealed Beta distribution "logit-normal"; here a Beta is
/// called Beta.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TimeDistribution {
    /// `t ~ U(0, 1)`.
    #[default]
    Uniform,
    /// `t ~ Beta(a, b)`; annealed to `Beta(1, 1) = U(0, 1)` this is `DynaRS`.
    Beta {
        /// First shape parameter, above 0 at every update.
        #[serde(deserialize_with = "curve::positive")]
        a: Curve,
        /// Second shape parameter, above 0 at every update.
        #[serde(deserialize_with = "curve::positive")]
        b: Curve,
    },
    /// `t = sigmoid(mean + std n)`, `n ~ N(0, 1)`.
    LogitNormal {
        /// Mean of `logit(t)`.
        mean: Curve,
        /// Standard deviation of `logit(t)`, above 0 at every update.
        #[serde(deserialize_with = "curve::positive")]
        std: Curve,
    },
}

impl TimeDistribution {
    /// First step from which the distribution no longer changes.
    pub fn settled_at(&self) -> u64 {
        match self {
            Self::Uniform => 0,
            Self::Beta { a, b } => a.settled_at().max(b.settled_at()),
            Self::LogitNormal { mean, std } => mean.settled_at().max(std.settled_at()),
        }
    }

    /// Names and values of its parameters at `step`.
    pub fn parameters_at(&self, step: u64) -> Vec<(&'static str, f64)> {
        match self {
            Self::Uniform => Vec::new(),
            Self::Beta { a, b } => vec![("a", a.at(step)), ("b", b.at(step))],
            Self::LogitNormal { mean, std } => {
                vec![("mean", mean.at(step)), ("std", std.at(step))]
            }
        }
    }
}
