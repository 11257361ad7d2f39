//! Names parameters while a network is built, and injects LoRA by name so that model files never mention it.

use std::cell::RefCell;

use tch::Tensor;

use crate::{Init, ParamStore, TensorError, Weight};

/// Which adapter of a network, in the order the specs were given when it was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdapterId(pub usize);

/// Where the pairs of an adapter sit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterPlace {
    /// Beside the weights of layers: [`Lora`].
    Weights,
    /// Behind the queries and values of attentions: [`OutputLora`].
    Outputs,
}

/// How `lora_A` of a pair beside weights starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LoraInit {
    /// Uniform in `+-1 / sqrt(fan_in)`, PEFT's default.
    #[default]
    KaimingUniform,
    /// Normal with the standard deviation `1 / rank`, PEFT's `init_lora_weights = "gaussian"`.
    Gaussian,
}

/// One LoRA set: where it goes and the store that owns its parameters.
#[derive(Debug)]
pub struct AdapterSpec {
    place: AdapterPlace,
    rank: i64,
    alpha: f64,
    init: LoraInit,
    targets: Vec<String>,
    store: ParamStore,
    seen: RefCell<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    layers: Vec<String>,
    matches: Vec<usize>,
}

/// The pair of one layer (PEFT's convention). Linear: `y += scale * (alpha / rank) * x A^T B^T`. Convolution: `A` is one
/// of the layer's own kernel, stride and padding, `B` one of kernel 1.
#[derive(Debug)]
pub struct Lora {
    /// Which adapter this pair belongs to.
    pub adapter: AdapterId,
    /// `lora_A.weight [rank, in]`, of a convolution `[rank, in, k, k]`, random as [`LoraInit`] says.
    pub a: Tensor,
    /// `lora_B.weight [out, rank]`, of a convolution `[out, rank, 1, 1]`, zeros: a fresh adapter changes nothing.
    pub b: Tensor,
    /// `alpha / rank`.
    pub scaling: f64,
}

/// The pairs behind one attention's projections: `q + scale * (alpha / rank) * q A_Q B_Q`, and `v` likewise. The form of the
/// authors' class-conditional demo (github.com/vvvvvjdy/dmdr, `train_cc`), which multiplies what a projection makes instead of
/// adding to its weights.
#[derive(Debug)]
pub struct OutputLora {
    /// Which adapter these pairs belong to.
    pub adapter: AdapterId,
    /// `lora_QA [D, rank]`, standard normal, and `lora_QB [rank, D]`, zeros: a fresh adapter changes nothing.
    pub q: [Tensor; 2],
    /// `lora_VA`, `lora_VB`, likewise.
    pub v: [Tensor; 2],
    /// `alpha / rank`; 1 in the demo.
    pub scaling: f64,
}

impl AdapterSpec {
    /// LoRA of `rank` on every linear layer and convolution whose name matches one of `targets` (`*` matches any run of characters).
    pub fn new(rank: i64, alpha: f64, targets: &[String], store: ParamStore) -> Self {
        let seen = RefCell::new(Seen {
            layers: Vec::new(),
            matches: vec![0; targets.len()],
        });
        Self {
            place: AdapterPlace::Weights,
            rank,
            alpha,
            init: LoraInit::default(),
            targets: targets.to_vec(),
            store,
            seen,
        }
    }

    /// The same pairs, started as `init` says.
    #[must_use]
    pub fn starting(self, init: LoraInit) -> Self {
        Self { init, ..self }
    }

    /// The same pairs at `place`; behind outputs, `targets` name attentions.
    #[must_use]
    pub fn at(self, place: AdapterPlace) -> Self {
        Self { place, ..self }
    }

    /// Whether a target names `layer`, which is remembered.
    fn hits(&self, layer: &str) -> bool {
        let mut seen = self.seen.borrow_mut();
        seen.layers.push(layer.to_owned());
        let mut hit = false;
        for (pattern, count) in self.targets.iter().zip(&mut seen.matches) {
            if matches(pattern, layer) {
                *count += 1;
                hit = true;
            }
        }
        hit
    }

    /// `weight` is the shape of the layer's own, `[out, in, ..]`.
    fn inject(&self, id: usize, layer: &str, weight: &[i64]) -> Option<Lora> {
        let hit = self.place == AdapterPlace::Weights && self.hits(layer);
        let (mut a, mut b) = (weight.to_vec(), vec![1; weight.len()]);
        a[0] = self.rank;
        b[..2].copy_from_slice(&[weight[0], self.rank]);
        let init = match self.init {
            LoraInit::KaimingUniform => Init::KaimingUniform,
            LoraInit::Gaussian => Init::Normal(1.0 / self.rank as f64),
        };
        hit.then(|| Lora {
            adapter: AdapterId(id),
            a: self
                .store
                .create(&format!("{layer}.lora_A.weight"), &a, init),
            b: self
                .store
                .create(&format!("{layer}.lora_B.weight"), &b, Init::Zeros),
            scaling: self.alpha / self.rank as f64,
        })
    }

    /// Pairs behind the projections, of width `dim`, of the attention called `layer`.
    fn inject_behind(&self, id: usize, layer: &str, dim: i64) -> Option<OutputLora> {
        let hit = self.place == AdapterPlace::Outputs && self.hits(layer);
        let pair = |of: char| {
            let name = |part| format!("{layer}.lora.lora_{of}{part}");
            let a = (name('A'), [dim, self.rank], Init::Normal(1.0));
            let b = (name('B'), [self.rank, dim], Init::Zeros);
            [a, b].map(|(name, shape, init)| self.store.create(&name, &shape, init))
        };
        hit.then(|| OutputLora {
            adapter: AdapterId(id),
            q: pair('Q'),
            v: pair('V'),
            scaling: self.alpha / self.rank as f64,
        })
    }

    /// To be called once the network is built.
    ///
    /// # Errors
    /// If a target matched no layer.
    pub fn check(&self) -> Result<(), TensorError> {
        let seen = self.seen.borrow();
        match seen.matches.iter().position(|&count| count == 0) {
            None => Ok(()),
            Some(index) => Err(TensorError::TargetMatchesNothing {
                pattern: self.targets[index].clone(),
                examples: seen
                    .layers
                    .iter()
                    .take(4)
                    .cloned()
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }
}

/// A place in the name tree of a network under construction.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    store: &'a ParamStore,
    adapters: &'a [AdapterSpec],
    path: String,
}

impl<'a> Scope<'a> {
    /// The root of a network with parameters in `store` and LoRA according to `adapters`.
    pub fn root(store: &'a ParamStore, adapters: &'a [AdapterSpec]) -> Self {
        Self {
            store,
            adapters,
            path: String::new(),
        }
    }

    /// The child `name`; `name` may itself contain dots.
    #[must_use]
    pub fn sub(&self, name: impl std::fmt::Display) -> Self {
        Self {
            path: self.name(&name.to_string()),
            ..self.clone()
        }
    }

    /// Creates parameter `name` here.
    pub fn param(&self, name: &str, shape: &[i64], init: Init) -> Tensor {
        self.store.create(&self.name(name), shape, init)
    }

    /// Creates the weight of a linear layer here, `[out, in]`, which is only read as a factor of products in `compute`.
    pub fn weight(&self, shape: [i64; 2], init: Init, compute: tch::Kind) -> Weight {
        let name = self.name("weight");
        self.store.create_layer(&name, &shape, init, compute)
    }

    /// Creates the kernel of a convolution here, `[out, in, k, k]`, which is only read as a factor of products in [`Self::compute`].
    pub fn kernel(&self, shape: [i64; 4], init: Init) -> Weight {
        let name = self.name("weight");
        self.store.create_layer(&name, &shape, init, self.compute())
    }

    /// Creates buffer `name` here, which is saved and loaded like a parameter but never trained; `value` is asked for
    /// only where the store has memory.
    ///
    /// # Panics
    /// If `value` is not of `shape`.
    pub fn buffer(&self, name: &str, shape: &[i64], value: impl FnOnce() -> Tensor) -> Tensor {
        self.store.create_buffer(&self.name(name), shape, value)
    }

    /// The LoRA pairs of the linear layer at this place, if any adapter targets it.
    pub fn loras(&self, fan_in: i64, fan_out: i64) -> Vec<Lora> {
        self.pairs(&[fan_out, fan_in])
    }

    /// The LoRA pairs of the convolution at this place, whose weight is `[out, in, k, k]`.
    pub fn conv_loras(&self, weight: [i64; 4]) -> Vec<Lora> {
        self.pairs(&weight)
    }

    fn pairs(&self, weight: &[i64]) -> Vec<Lora> {
        self.adapters
            .iter()
            .enumerate()
            .filter_map(|(id, spec)| spec.inject(id, &self.path, weight))
            .collect()
    }

    /// The pairs behind the projections, of width `dim`, of the attention at this place, if any adapter targets it.
    pub fn output_loras(&self, dim: i64) -> Vec<OutputLora> {
        let specs = self.adapters.iter().enumerate();
        specs
            .filter_map(|(id, spec)| spec.inject_behind(id, &self.path, dim))
            .collect()
    }

    /// The device parameters are created on.
    pub fn device(&self) -> tch::Device {
        self.store.device()
    }

    /// The kind large matrix products are computed in.
    pub fn compute(&self) -> tch::Kind {
        self.store.compute()
    }

    /// The share of the network's blocks that compute their activations again on the way back.
    pub fn recomputed(&self) -> f64 {
        self.store.recomputed()
    }

    fn name(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

/// Glob match with `*` for any run of characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).any(|skip| tail.is_char_boundary(skip) && matches(rest, &tail[skip..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;

    #[test]
    fn globs() {
        assert!(matches("blocks.*", "blocks.10.attn.qkv"));
        assert!(matches("blocks.*.attn.*", "blocks.1.attn.qkv"));
        assert!(!matches("blocks.1.*", "blocks.10.attn"));
        assert!(!matches("blocks", "blocks.1"));
    }

    #[test]
    fn pairs_of_a_convolution_are_pefts() {
        let store = ParamStore::frozen(Device::Cpu);
        let lora = ParamStore::trainable(Device::Cpu, 0);
        let specs = [AdapterSpec::new(2, 2.0, &["*".into()], lora.clone())];
        let scope = Scope::root(&store, &specs).sub("conv1");
        assert_eq!(scope.conv_loras([5, 4, 3, 3]).len(), 1);
        let shapes = lora.shapes();
        assert_eq!(shapes["conv1.lora_A.weight"], [2, 4, 3, 3]);
        assert_eq!(shapes["conv1.lora_B.weight"], [5, 2, 1, 1]);
    }

    #[test]
    fn pairs_start_as_pefts() {
        let started = |init, weight: [i64; 4]| {
            let store = ParamStore::frozen(Device::Cpu);
            let lora = ParamStore::trainable(Device::Cpu, 0);
            let specs = [AdapterSpec::new(64, 128.0, &["*".into()], lora.clone()).starting(init)];
            let _ = Scope::root(&store, &specs).sub("layer").conv_loras(weight);
            let b = lora.tensor("layer.lora_B.weight");
            assert!(
                b.count_nonzero(None).int64_value(&[]) == 0,
                "it changes nothing"
            );
            lora.tensor("layer.lora_A.weight").detach()
        };
        let moments = |a: &Tensor| {
            let mean = a.mean(tch::Kind::Double).double_value(&[]);
            (
                mean,
                a.std(true).double_value(&[]),
                a.abs().max().double_value(&[]),
            )
        };
        // 64 * 400 draws. PEFT: N(0, 1 / r) in standard deviations, whatever the layer's width is.
        for fan_in in [[16, 5], [400, 1]] {
            let weight = [8, fan_in[0], fan_in[1], fan_in[1]];
            let (mean, std, largest) = moments(&started(LoraInit::Gaussian, weight));
            assert!(
                mean.abs() < 5e-4 && (std - 1.0 / 64.0).abs() < 4e-4,
                "{mean}, {std}"
            );
            assert!(largest > 3.0 / 64.0, "a normal has tails: {largest}");
            // kaiming_uniform_(a = sqrt(5)): 1 / sqrt(fan_in) at most, and a third of its square on average.
            let (_, std, largest) = moments(&started(LoraInit::KaimingUniform, weight));
            assert!(
                largest <= 0.05 && (std - 0.05 / 3_f64.sqrt()).abs() < 4e-4,
                "{std}"
            );
        }
    }

    #[test]
    fn a_target_without_layer_is_an_error() {
        let store = ParamStore::frozen(Device::Cpu);
        let spec = AdapterSpec::new(
            2,
            2.0,
            &["a*".into(), "nope".into()],
            ParamStore::trainable(Device::Cpu, 0),
        );
        let specs = [spec];
        let scope = Scope::root(&store, &specs).sub("a1");
        assert_eq!(scope.loras(4, 3).len(), 1);
        let error = specs[0]
            .check()
            .expect_err("`nope` names no layer")
            .to_string();
        assert!(error.contains("`nope`") && error.contains("a1"), "{error}");
    }
}
