//! `AdamW` and the exponential moving average.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::curve::{self, Curve};
use crate::net::NetId;
use crate::range;

/// `[optim]` of an experiment: one optimiser for each trained network, by its name. Curves run over updates of the student.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Optim(BTreeMap<String, Optimizer>);

impl Optim {
    /// These optimisers.
    pub fn new(optimizers: impl IntoIterator<Item = (NetId, Optimizer)>) -> Self {
        let named = |(id, optimizer): (NetId, _)| (id.name().to_owned(), optimizer);
        Self(optimizers.into_iter().map(named).collect())
    }

    /// That of network `name`.
    pub fn get(&self, name: &str) -> Option<&Optimizer> {
        self.0.get(name)
    }

    /// That of network `id`, to be changed.
    ///
    /// # Panics
    /// If it has none.
    pub fn get_mut(&mut self, id: NetId) -> &mut Optimizer {
        let found = self.0.get_mut(id.name());
        found.unwrap_or_else(|| panic!("`{id}` has no optimiser"))
    }

    /// Removes that of network `id`.
    pub fn remove(&mut self, id: NetId) -> Option<Optimizer> {
        self.0.remove(id.name())
    }

    /// Networks that have one.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// `AdamW` with gradient clipping.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Optimizer {
    /// Learning rate.
    #[serde(deserialize_with = "curve::non_negative")]
    pub lr: Curve,
    /// Decay rates of the first and second moment, each in `[0, 1)`.
    #[serde(default = "betas", deserialize_with = "range::betas")]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[serde(default = "eps", deserialize_with = "range::positive")]
    pub eps: f64,
    /// Decoupled weight decay.
    #[serde(default, deserialize_with = "range::non_negative")]
    pub weight_decay: f64,
    /// Largest global norm of the gradient; a longer one is scaled down to it.
    #[serde(default = "clip_norm", deserialize_with = "range::positive")]
    pub clip_norm: f64,
}

/// PyTorch's `AdamW`.
fn betas() -> [f64; 2] {
    [0.9, 0.999]
}

/// PyTorch's `AdamW`.
fn eps() -> f64 {
    1e-8
}

fn clip_norm() -> f64 {
    1.0
}

/// `[ema]`: the averaged weights are the ones that are sampled and evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ema {
    /// Share of the old average kept per update, in `[0, 1)`.
    #[serde(deserialize_with = "range::below_one")]
    pub decay: f64,
}
