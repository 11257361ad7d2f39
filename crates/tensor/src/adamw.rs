//! AdamW with decoupled decay (Loshchilov & Hutter, arXiv 1711.05101), libtorch's fused kernel, and saved state.

use std::{collections::BTreeMap, ops::Range, path::Path};

use tch::{Device, Kind, Tensor, no_grad_guard};

use crate::{
    LoadReport, ParamGroup, Ranks, TensorError,
    memory::num_bytes,
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

/// Optimiser of exactly one [`ParamGroup`]. Of several processes each may have the moments of some parameters only (`ZeRO`'s
/// first stage, arXiv 1910.02054): it steps these, and gets the others from those who do.
#[derive(Debug)]
pub struct AdamW {
    group: ParamGroup,
    config: AdamWConfig,
    /// Of the parameters that are its own.
    moments: Moments,
    shards: Shards,
    /// The moments of all, while a checkpoint is written.
    gathered: Option<BTreeMap<String, Tensor>>,
}

/// Which parameters each process steps: neighbours in the group, with about as many numbers for each.
#[derive(Debug)]
struct Shards {
    ranks: Ranks,
    /// For each process the first of its parameters, and the number of all.
    bounds: Vec<usize>,
}

impl Shards {
    fn of(params: &[Tensor], ranks: Ranks) -> Self {
        let numels: Vec<usize> = params.iter().map(Tensor::numel).collect();
        let all: usize = numels.iter().sum();
        let mut bounds = vec![0];
        let (mut index, mut before) = (0, 0);
        for rank in 1..=ranks.count() as usize {
            let end = all * rank / ranks.count() as usize;
            while index < numels.len() && before + numels[index] / 2 <= end {
                before += numels[index];
                index += 1;
            }
            bounds.push(index);
        }
        // Of the last one, what rounding left.
        *bounds.last_mut().expect("a process") = numels.len();
        Self { ranks, bounds }
    }

    fn range(&self, rank: usize) -> Range<usize> {
        self.bounds[rank]..self.bounds[rank + 1]
    }

    fn own(&self) -> Range<usize> {
        self.range(self.ranks.rank() as usize)
    }
}

impl AdamW {
    /// Zero moments for every parameter of `group`.
    pub fn new(group: ParamGroup, config: AdamWConfig) -> Self {
        Self::sharded(group, config, Ranks::ALONE)
    }

    /// The same with the moments divided among `ranks`.
    pub fn sharded(group: ParamGroup, config: AdamWConfig, ranks: Ranks) -> Self {
        let shards = Shards::of(&group.tensors, ranks);
        let own = &group.tensors[shards.own()];
        let zeros = || own.iter().map(Tensor::zeros_like).collect();
        let moments = Moments {
            exp_avgs: zeros(),
            exp_avg_sqs: zeros(),
            steps: own
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
            shards,
            gathered: None,
        }
    }

    /// The parameters this optimiser owns.
    pub fn group(&self) -> &ParamGroup {
        &self.group
    }

    /// Bytes of the moments that are its own.
    pub fn num_bytes(&self) -> usize {
        self.state().values().map(num_bytes).sum()
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
        let own = self.shards.own();
        if !own.is_empty() {
            let (params, grads) = (&self.group.tensors[own.clone()], &grads[own]);
            shim::fused_adamw(params, grads, &self.moments, hyper, skip)?;
        }
        let ranks = self.shards.ranks;
        for rank in 0..ranks.count() as usize {
            ranks.spread(
                &mut self.group.tensors[self.shards.range(rank)],
                rank as u64,
            )?;
        }
        Ok(())
    }

    /// Moments and step counters of its own parameters.
    fn state(&self) -> BTreeMap<String, Tensor> {
        let Moments {
            exp_avgs,
            exp_avg_sqs,
            steps,
        } = &self.moments;
        let names = &self.group.names[self.shards.own()];
        named(names, [exp_avgs, exp_avg_sqs, steps])
    }

    /// Brings the moments of all processes together, where [`Self::save`] finds them. All of them do so at once.
    ///
    /// # Errors
    /// A process that is gone or hangs.
    pub fn gather(&mut self) -> Result<(), TensorError> {
        let ranks = self.shards.ranks;
        if ranks.count() == 1 {
            return Ok(());
        }
        let mut all = BTreeMap::new();
        for rank in 0..ranks.count() as usize {
            let range = self.shards.range(rank);
            let params = &self.group.tensors[range.clone()];
            let is_own = rank as u64 == ranks.rank();
            let mut moments = if is_own {
                self.moments.copies()
            } else {
                let like = || {
                    params
                        .iter()
                        .map(|param| param.detach().empty_like())
                        .collect()
                };
                let counter =
                    |param: &Tensor| Tensor::zeros([0i64; 0], (Kind::Float, param.device()));
                [like(), like(), params.iter().map(counter).collect()]
            };
            for tensors in &mut moments {
                ranks.spread(tensors, rank as u64)?;
            }
            if ranks.is_first() {
                let names = &self.group.names[range];
                let found = named(names, moments.each_ref()).into_iter();
                all.extend(found.map(|(name, tensor)| (name, tensor.to_device(Device::Cpu))));
            }
        }
        self.gathered = ranks.is_first().then_some(all);
        Ok(())
    }

    /// Lets go of what was gathered.
    pub fn scatter(&mut self) {
        self.gathered = None;
    }

    /// Writes moments and step counters (f32), atomically; of several processes, what they gathered.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), TensorError> {
        let own;
        let state = match &self.gathered {
            Some(all) => all,
            None if self.shards.ranks.count() > 1 => {
                let message = "the moments of the other processes were not gathered";
                return Err(TensorError::torch("a checkpoint", message));
            }
            None => {
                own = self.state();
                &own
            }
        };
        crate::write_tensors(path, state, Kind::Float, &BTreeMap::new())
    }

    /// Restores what [`Self::save`] wrote, of as many processes as it was.
    ///
    /// # Errors
    /// An unreadable file, or one of another network; nothing is changed then.
    pub fn load(&mut self, path: &Path) -> Result<(), TensorError> {
        let saved = weights::read_tensors(path)?;
        let (params, names) = (&self.group.tensors, &self.group.names);
        let counter = |param: &Tensor| Tensor::zeros([0i64; 0], (Kind::Float, param.device()));
        let counters = params.iter().map(counter).collect();
        let expected = named(names, [params, params, &counters]).into_iter();
        let expected = expected.map(|(name, like)| (name, (like.size(), like.kind())));
        let expected = expected.collect();
        let report = LoadReport::compare(&expected, &weights::headers(&saved, path));
        if !report.fits() {
            return Err(TensorError::Mismatch {
                path: path.to_owned(),
                report: Box::new(report),
            });
        }
        let _guard = no_grad_guard();
        for (name, tensor) in self.state() {
            tensor.shallow_clone().copy_(&saved[&name]);
        }
        Ok(())
    }
}

/// Both moments and the step counter of parameters, by name.
fn named(names: &[String], of: [&Vec<Tensor>; 3]) -> BTreeMap<String, Tensor> {
    let prefixes = ["exp_avg", "exp_avg_sq", "step"].into_iter().zip(of);
    let entries = prefixes.flat_map(|(prefix, tensors)| {
        names
            .iter()
            .zip(tensors)
            .map(move |(name, tensor)| (format!("{prefix}/{name}"), tensor.shallow_clone()))
    });
    entries.collect()
}

#[cfg(test)]
mod tests {
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
    fn shards_are_neighbours_of_about_the_same_size() {
        let params = |numels: &[i64]| -> Vec<Tensor> {
            let zeros = |numel: &i64| Tensor::zeros([*numel], (Kind::Float, Device::Cpu));
            numels.iter().map(zeros).collect()
        };
        let bounds =
            |numels: &[i64], count| Shards::of(&params(numels), Ranks::counted(count)).bounds;
        assert_eq!(bounds(&[4, 4, 4, 4], 2), [0, 2, 4]);
        assert_eq!(bounds(&[10, 1, 1, 1], 2), [0, 1, 4]);
        assert_eq!(bounds(&[1, 1, 1, 10], 2), [0, 3, 4]);
        assert_eq!(bounds(&[5], 3), [0, 0, 1, 1]);
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
