//! One optimiser step: gradients of its own group, clip, finite check, `AdamW`.

use std::{collections::BTreeMap, path::Path};

use dmdr_config::{Curve, Optimizer};
use dmdr_events::atomic_write;
use dmdr_methods::Losses;
use dmdr_tensor::{AdamW, AdamWConfig, Kind, ParamGroup, safetensors_bytes};

use crate::TrainError;

/// An optimiser, its learning-rate curve and its clip norm.
#[derive(Debug)]
pub struct Update {
    name: &'static str,
    adamw: AdamW,
    lr: Curve,
    clip_norm: f64,
}

/// What an update leaves to log.
pub type UpdateStats = BTreeMap<String, f64>;

impl Update {
    /// An optimiser for `group`; `name` appears in metrics and errors.
    pub fn new(name: &'static str, group: ParamGroup, config: &Optimizer) -> Self {
        let adamw = AdamW::new(
            group,
            AdamWConfig {
                betas: (config.betas[0], config.betas[1]),
                eps: config.eps,
                weight_decay: config.weight_decay,
            },
        );
        Self {
            name,
            adamw,
            lr: config.lr,
            clip_norm: config.clip_norm,
        }
    }

    /// The optimiser, for checkpoints.
    pub fn adamw(&self) -> &AdamW {
        &self.adamw
    }

    /// The optimiser, to be restored.
    pub fn adamw_mut(&mut self) -> &mut AdamW {
        &mut self.adamw
    }

    /// Minimises `losses`. Terms and the gradient norm are checked before anything changes.
    ///
    /// # Errors
    /// A term or norm that is not finite (the batch is then kept in `run`), or a failure of libtorch.
    pub fn step(
        &mut self,
        losses: &Losses,
        step: u64,
        run: &Path,
    ) -> Result<UpdateStats, TrainError> {
        let mut stats = losses.observed.clone();
        for term in &losses.terms {
            let value = term.value.double_value(&[]);
            self.check(&format!("loss/{}", term.name), value, losses, step, run)?;
            stats.insert(format!("loss/{}", term.name), value);
        }
        let mut grads = self.adamw.group().grads(&losses.total())?;
        let norm = AdamW::clip(&mut grads, self.clip_norm);
        self.check(&format!("grad_norm/{}", self.name), norm, losses, step, run)?;
        stats.insert(format!("grad_norm/{}", self.name), norm);
        let lr = self.lr.at(step);
        stats.insert(format!("lr/{}", self.name), lr);
        self.adamw.step(&grads, lr)?;
        Ok(stats)
    }

    fn check(
        &self,
        what: &str,
        value: f64,
        losses: &Losses,
        step: u64,
        run: &Path,
    ) -> Result<(), TrainError> {
        if value.is_finite() {
            return Ok(());
        }
        let post_mortem = run.join(format!("post-mortem-{}-{step:06}.safetensors", self.name));
        // As it is: what is not finite is what somebody will look for.
        let batch = safetensors_bytes(&losses.batch, Kind::Float, &BTreeMap::new());
        atomic_write(&post_mortem, batch)?;
        Err(TrainError::NotFinite {
            what: what.to_owned(),
            value,
            step,
            post_mortem,
        })
    }
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, Init, ParamStore, Scope, Tensor, read_tensors};

    use super::*;

    #[test]
    fn a_term_that_is_not_finite_stops_before_the_update() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = ParamStore::trainable(Device::Cpu, 0);
        let weight = Scope::root(&store, &[]).param("w", &[3], Init::Ones);
        let config = Optimizer {
            lr: Curve::Constant(0.1),
            betas: [0.9, 0.99],
            eps: 1e-8,
            weight_decay: 0.0,
            clip_norm: 1.0,
        };
        let mut update = Update::new("generator", store.group(), &config);
        let mut losses = Losses::default();
        losses.keep("x", &Tensor::from_slice(&[1.0f32, 2.0]));
        losses.add("dm", 1.0, (&weight * f64::NAN).sum(Kind::Float));
        let error = update.step(&losses, 7, dir.path()).expect_err("NaN");
        assert!(
            error.to_string().contains("`loss/dm` is NaN at step 7"),
            "{error}"
        );
        assert_eq!(Vec::<f32>::try_from(&weight).expect("f32"), [1.0; 3]);
        let TrainError::NotFinite { post_mortem, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(read_tensors(&post_mortem).expect("kept")["x"].size(), [2]);
    }
}
