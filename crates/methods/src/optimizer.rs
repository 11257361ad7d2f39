//! The optimiser of one network: clip and `AdamW` on its own group.

use dmdr_config::{Curve, Optimizer as Config};
use dmdr_tensor::{AdamW, AdamWConfig, ParamGroup, Ranks, Tensor, TensorError};

/// `AdamW` with its learning-rate curve and its clip norm.
#[derive(Debug)]
pub(crate) struct Optimizer {
    adamw: AdamW,
    lr: Curve,
    clip_norm: f64,
}

impl Optimizer {
    /// With its moments divided among `ranks`.
    pub(crate) fn new(group: ParamGroup, config: &Config, ranks: Ranks) -> Self {
        let adamw = AdamWConfig {
            betas: (config.betas[0], config.betas[1]),
            eps: config.eps,
            weight_decay: config.weight_decay,
        };
        Self {
            adamw: AdamW::sharded(group, adamw, ranks),
            lr: config.lr,
            clip_norm: config.clip_norm,
        }
    }

    pub(crate) fn adamw_mut(&mut self) -> &mut AdamW {
        &mut self.adamw
    }

    /// Bytes of its moments in this process.
    pub(crate) fn num_bytes(&self) -> usize {
        self.adamw.num_bytes()
    }

    /// The parameters that it changes.
    pub(crate) fn group(&self) -> &ParamGroup {
        self.adamw.group()
    }

    /// Clips `grads` to the largest norm; gives the norm before, a scalar on the device.
    pub(crate) fn clip(&self, grads: &mut [Tensor]) -> Tensor {
        AdamW::clip(grads, self.clip_norm)
    }

    /// One step at `update` by the clipped `grads`; gives the learning rate. Nothing changes where `skip`, an f32 scalar, is 1.
    pub(crate) fn step(
        &mut self,
        grads: &[Tensor],
        update: u64,
        skip: &Tensor,
    ) -> Result<f64, TensorError> {
        let lr = self.lr.at(update);
        self.adamw.step(grads, lr, skip)?;
        Ok(lr)
    }
}
