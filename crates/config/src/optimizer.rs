//! `AdamW` and the exponential moving average.

use serde::{Deserialize, Serialize};

use crate::curve::Curve;
use crate::{defaults, range};

/// `[optim]` of an experiment: one optimiser per trained network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optim {
    /// The student; its curves run over generator updates.
    pub generator: Optimizer,
    /// The fake score's adapter; its curves run over generator updates too.
    pub score: Optimizer,
}

/// `AdamW` with gradient clipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// Learning rate.
    #[serde(deserialize_with = "range::non_negative_curve")]
    pub lr: Curve,
    /// Decay rates of the first and second moment, each in `[0, 1)`.
    #[serde(default = "defaults::betas", deserialize_with = "range::betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[serde(default = "defaults::eps", deserialize_with = "range::positive")]
    pub eps: f64,
    /// Decoupled weight decay.
    #[serde(
        default = "defaults::weight_decay",
        deserialize_with = "range::non_negative"
    )]
    pub weight_decay: f64,
    /// Largest global norm of the gradient; a longer one is scaled down to it.
    #[serde(default = "defaults::clip_norm", deserialize_with = "range::positive")]
    pub clip_norm: f64,
}

/// `[ema]`: the averaged weights are the ones that are sampled and evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ema {
    /// Share of the old average kept per update, in `[0, 1)`.
    #[serde(deserialize_with = "range::below_one")]
    pub decay: f64,
}
