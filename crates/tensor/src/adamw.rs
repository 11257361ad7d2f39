//! AdamW with decoupled decay (Loshchilov & Hutter, arXiv 1711.05101), libtorch's fused kernel, and saved state.

use std::{collections::BTreeMap, path::Path};

use tch::{Kind, Tensor, no_grad_guard};

use crate::{
    LoadReport, ParamGroup, TensorError,
    shim::{self, Hyper, Moments},
    weights,
};

/// Everything but the learning rate, which is annealed by the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay rates of the two moments.
    pub betas: (f64, f64),
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled decay: `param *= 1 - lr * weight_decay`.
    pub weight_decay: f64,
}

/// Optimiser of exactly one [`ParamGroup`].
#[derive(Debug)]
pub struct AdamW {
    group: ParamGroup,
    config: AdamWConfig,
    moments: Moments,
}

impl AdamW {
    /// Zero moments for every parameter of `group`.
    pub fn new(group: ParamGroup, config: AdamWConfig) -> Self {
        let zeros = || group.tensors.iter().map(Tensor::zeros_like).collect();
        let moments = Moments {
            exp_avgs: zeros(),
            exp_avg_sqs: zeros(),
            steps: group
                .tensors
                .iter()
                .map(|param| Tensor::zeros([0i64; 0], (Kind::Float, param.device())))
                .collect(),
        };
        for moment in moments.exp_avgs.iter().chain(&moments.exp_avg_sqs) {
            let _ = moment.set_requires_grad(false);
        }
        Self {
            group,
            config,
            moments,
        }
    }

    /// The parameters this optimiser owns.
    pub fn group(&self) -> &ParamGroup {
        &self.group
    }

    /// Scales `grads` so that their global L2 norm is at most `max_norm`; returns the norm before clipping, a scalar on their
    /// device, which nobody waits for.
    pub fn clip(grads: &mut [Tensor], max_norm: f64) -> Tensor {
        let _guard = no_grad_guard();
        let norms: Vec<Tensor> = grads.iter().map(Tensor::norm).collect();
        let norm = Tensor::stack(&norms, 0).norm();
        let wide = norm.to_kind(Kind::Double);
        let factor = (&wide + 1e-6).reciprocal() * max_norm;
        let factor = factor.where_self(&wide.gt(max_norm), &factor.ones_like());
        let factor = factor.to_kind(Kind::Float);
        for grad in grads {
            let _ = grad.g_mul_(&factor);
        }
        norm
    }

    /// One step with learning rate `lr`. Where `skip`, an f32 scalar on the parameters' device, is 1, nothing changes; otherwise
    /// it is 0.
    ///
    /// # Errors
    /// If libtorch refuses, e.g. for a gradient of another shape.
    pub fn step(&mut self, grads: &[Tensor], lr: f64, skip: &Tensor) -> Result<(), TensorError> {
        let AdamWConfig {
            betas,
            eps,
            weight_decay,
        } = self.config;
        let hyper = Hyper {
            lr,
            betas,
            weight_decay,
            eps,
        };
        shim::fused_adamw(&self.group.tensors, grads, &self.moments, hyper, skip)
    }

    fn state(&self) -> BTreeMap<String, Tensor> {
        let names = &self.group.names;
        let entries = |prefix: &'static str, tensors: &[Tensor]| {
            names
                .iter()
                .zip(tensors)
                .map(|(name, tensor)| (format!("{prefix}/{name}"), tensor.shallow_clone()))
                .collect::<Vec<_>>()
        };
        let Moments {
            exp_avgs,
            exp_avg_sqs,
            steps,
        } = &self.moments;
        [
            entries("exp_avg", exp_avgs),
            entries("exp_avg_sq", exp_avg_sqs),
            entries("step", steps),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Writes moments and step counters (f32), atomically.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TensorError> {
        crate::write_tensors(path, &self.state(), Kind::Float, &BTreeMap::new())
    }

    /// Restores what [`Self::save`] wrote.
    ///
    /// # Errors
    /// An unreadable file, or one of another network; nothing is changed then.
    pub fn load(&mut self, path: &Path) -> Result<(), TensorError> {
        let saved = weights::read_tensors(path)?;
        let state = self.state();
        let report = LoadReport::compare(&state, &weights::headers(&saved, path));
        if !report.fits() {
            return Err(TensorError::Mismatch {
                path: path.to_owned(),
                report: Box::new(report),
            });
        }
        let _guard = no_grad_guard();
        for (name, tensor) in state {
            tensor.shallow_clone().copy_(&saved[&name]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::{Init, ParamStore, Scope};

    fn store() -> ParamStore {
        let store = ParamStore::trainable(Device::Cpu, 3);
        let _ = Scope::root(&store, &[]).param("w", &[5], Init::Normal(1.0));
        store
    }

    fn config() -> AdamWConfig {
        AdamWConfig {
            betas: (0.9, 0.99),
            eps: 1e-8,
            weight_decay: 0.1,
        }
    }

    fn go() -> Tensor {
        Tensor::from(0.0f32)
    }

    fn quadratic(group: &ParamGroup) -> Tensor {
        let target = Tensor::from_slice(&[1.0f32, -2.0, 3.0, 0.5, 0.0]);
        (&group.tensors[0] - target).square().sum(Kind::Float)
    }

    #[test]
    fn twenty_steps_equal_the_formula() {
        let store = store();
        let mut adamw = AdamW::new(store.group(), config());
        let mut expected: Vec<f64> = Vec::<f32>::try_from(&store.group().tensors[0])
            .expect("f32")
            .into_iter()
            .map(f64::from)
            .collect();
        let target = [1.0, -2.0, 3.0, 0.5, 0.0];
        let (mut m, mut v) = ([0.0; 5], [0.0; 5]);
        for step in 1..=20 {
            let grads = adamw
                .group()
                .grads(&quadratic(adamw.group()))
                .expect("differentiable");
            adamw.step(&grads, 0.05, &go()).expect("same shapes");
            for i in 0..5 {
                let grad = 2.0 * (expected[i] - target[i]);
                m[i] = 0.9 * m[i] + 0.1 * grad;
                v[i] = 0.99 * v[i] + 0.01 * grad * grad;
                let m_hat = m[i] / (1.0 - 0.9_f64.powi(step));
                let v_hat: f64 = v[i] / (1.0 - 0.99_f64.powi(step));
                expected[i] -= 0.05 * (0.1 * expected[i] + m_hat / (v_hat.sqrt() + 1e-8));
            }
        }
        let got = Vec::<f32>::try_from(&store.group().tensors[0]).expect("f32");
        for (a, b) in got.iter().zip(expected) {
            assert!((f64::from(*a) - b).abs() < 1e-5, "{got:?}");
        }
    }

    #[test]
    fn resume_is_bit_equal() {
        let dir = tempfile::tempdir().expect("temp dir");
        let run = |store: &ParamStore, adamw: &mut AdamW, n: usize| {
            for _ in 0..n {
                let grads = adamw
                    .group()
                    .grads(&quadratic(adamw.group()))
                    .expect("differentiable");
                adamw.step(&grads, 0.05, &go()).expect("same shapes");
            }
            Vec::<f32>::try_from(&store.group().tensors[0]).expect("f32")
        };
        let straight = store();
        let mut adamw = AdamW::new(straight.group(), config());
        let expected = run(&straight, &mut adamw, 6);

        let first = store();
        let mut adamw = AdamW::new(first.group(), config());
        let _ = run(&first, &mut adamw, 3);
        let (weights, optim) = (
            dir.path().join("w.safetensors"),
            dir.path().join("o.safetensors"),
        );
        first
            .save(&weights, Kind::Float, &BTreeMap::new())
            .expect("writable");
        adamw.save(&optim).expect("writable");

        let second = store();
        second.load(&weights).expect("same network");
        let mut adamw = AdamW::new(second.group(), config());
        adamw.load(&optim).expect("same network");
        assert_eq!(run(&second, &mut adamw, 3), expected);
    }

    #[test]
    fn clip_scales_to_the_norm() {
        let mut grads = vec![Tensor::from_slice(&[3.0f32]), Tensor::from_slice(&[4.0f32])];
        let mut clip = |max| AdamW::clip(&mut grads, max).double_value(&[]);
        assert!((clip(1.0) - 5.0).abs() < 1e-6);
        let clipped = clip(2.0);
        assert!((clipped - 1.0).abs() < 1e-5);
        assert!((clip(2.0) - clipped).abs() < 1e-12, "it was short enough");
        assert!((grads[1].double_value(&[0]) - 0.8).abs() < 1e-5);
    }

    #[test]
    fn a_skipped_step_changes_nothing() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = store();
        let mut adamw = AdamW::new(store.group(), config());
        let grads = |adamw: &AdamW| {
            let loss = quadratic(adamw.group());
            adamw.group().grads(&loss).expect("differentiable")
        };
        let state = |adamw: &AdamW| {
            let path = dir.path().join("state.safetensors");
            adamw.save(&path).expect("writable");
            let weights = Vec::<f32>::try_from(&store.group().tensors[0]).expect("f32");
            (weights, std::fs::read(path).expect("written"))
        };
        let of = grads(&adamw);
        adamw.step(&of, 0.05, &go()).expect("same shapes");
        let before = state(&adamw);
        let broken: Vec<Tensor> = grads(&adamw).iter().map(|grad| grad * f64::NAN).collect();
        let skip = Tensor::from(1.0f32);
        adamw.step(&broken, 0.05, &skip).expect("same shapes");
        assert_eq!(state(&adamw), before);
    }
}
