//! A discriminator on the features of a diffusion network (DMD2, arXiv 2405.14867): a small head on each tapped block.

use dmdr_tensor::{Init, Kind, ParamStore, Scope, Tensor};

use crate::{
    Call, Conditioning, Denoiser, ModelError, Taps, View,
    layers::{LayerNorm, Linear},
};

/// Heads on the outputs of some blocks of a network.
#[derive(Debug)]
pub struct Discriminator {
    blocks: Vec<usize>,
    num_blocks: usize,
    heads: Vec<Head>,
}

/// One logit of the tokens of a block: each is projected, their mean is judged.
#[derive(Debug)]
struct Head {
    norm: LayerNorm,
    input: Linear,
    hidden: Linear,
    output: Linear,
}

impl Discriminator {
    /// Heads of width `dim` on the outputs of `blocks` of `net`, counted from 0; on the middle one if none are named. Before any
    /// training all logits are 0.
    ///
    /// # Errors
    /// Blocks that do not ascend, or that the network does not have.
    pub fn new(
        store: &ParamStore,
        net: &dyn Denoiser,
        blocks: Option<&[usize]>,
        dim: i64,
    ) -> Result<Self, ModelError> {
        let widths = net.feature_widths();
        let num_blocks = widths.len();
        let blocks = blocks.map_or_else(|| vec![num_blocks / 2], <[usize]>::to_vec);
        Taps::new(&blocks, num_blocks)?;
        let root = Scope::root(store, &[]);
        let heads = blocks.iter().map(|block| {
            let (scope, width) = (root.sub(format!("heads.{block}")), widths[*block]);
            let linear = |name, fan_in, fan_out, init| {
                Linear::precise(&scope.sub(name), fan_in, fan_out, init)
            };
            Head {
                norm: LayerNorm::affine(&scope.sub("norm"), width),
                input: linear("input", width, dim, Init::KaimingUniform),
                hidden: linear("hidden", dim, dim, Init::KaimingUniform),
                output: linear("output", dim, 1, Init::Zeros),
            }
        });
        Ok(Self {
            heads: heads.collect(),
            blocks,
            num_blocks,
        })
    }

    /// Logits `[B, heads]` for `x_t [B, C, H, W]` at `t [B]` by the features that `view` has of it: positive means true.
    ///
    /// # Panics
    /// If the view's network has another number of blocks.
    pub fn logits(&self, view: &View<'_>, x_t: &Tensor, t: &Tensor, cond: &Conditioning) -> Tensor {
        let taps = Taps::new(&self.blocks, self.num_blocks).expect("checked when it was made");
        let features = view.features(x_t, t, cond, &taps);
        let logits: Vec<Tensor> = self
            .heads
            .iter()
            .zip(features)
            .map(|(head, feature)| head.forward(&feature))
            .collect();
        Tensor::cat(&logits, 1)
    }
}

impl Head {
    /// `[B, 1]` of `[B, N, D]` or `[B, D, H, W]`.
    fn forward(&self, feature: &Tensor) -> Tensor {
        let call = Call::default();
        let tokens = match feature.dim() {
            4 => feature.flatten(2, -1).transpose(1, 2),
            _ => feature.shallow_clone(),
        };
        let tokens = self.norm.forward(&tokens.to_kind(Kind::Float));
        let mean =
            self.input
                .forward(&tokens, &call)
                .silu()
                .mean_dim(&[1i64][..], false, Kind::Float);
        let hidden = self.hidden.forward(&mean, &call).silu();
        self.output.forward(&hidden, &call)
    }
}

#[cfg(test)]
mod tests {
    use dmdr_diffusion::Schedule;
    use dmdr_tensor::{AdamW, AdamWConfig, Device, reseed};

    use super::*;
    use crate::PointNet;

    #[test]
    fn a_head_learns_to_tell_points_apart() {
        reseed(&[1]);
        let base = ParamStore::frozen(Device::Cpu);
        let net = PointNet::new(&base, &[], 16, 3).expect("no adapters");
        for mut weight in base.group().tensors {
            weight.copy_(&(weight.randn_like() * 0.3));
        }
        let error = Discriminator::new(
            &ParamStore::trainable(Device::Cpu, 0),
            &net,
            Some(&[1, 3]),
            8,
        )
        .expect_err("there are three");
        assert!(error.to_string().contains("no block 3"), "{error}");

        let store = ParamStore::trainable(Device::Cpu, 0);
        let judge = Discriminator::new(&store, &net, Some(&[0, 2]), 8).expect("blocks");
        let view = View::new(&net, Schedule::RectifiedFlow);
        let points = Tensor::randn([64, 2, 1, 1], (Kind::Float, Device::Cpu)) * 0.1;
        let t = Tensor::full([64], 0.3, (Kind::Float, Device::Cpu));
        let nothing = Conditioning::none(64, Device::Cpu);
        let logits = |shift: f64| judge.logits(&view, &(&points + shift), &t, &nothing);
        assert_eq!(logits(0.5).size(), [64, 2]);
        assert!(logits(0.5).abs().max().double_value(&[]) < f64::MIN_POSITIVE);
        let loss = || {
            let (there, away) = (logits(0.5), logits(-0.5));
            ((-there).softplus() + away.softplus()).mean(Kind::Float)
        };
        let config = AdamWConfig {
            betas: (0.9, 0.99),
            eps: 1e-8,
            weight_decay: 0.0,
        };
        let mut adamw = AdamW::new(store.group(), config);
        for _ in 0..100 {
            let grads = adamw.group().grads(&loss()).expect("a graph");
            let go = Tensor::from(0.0f32);
            adamw.step(&grads, 1e-2, &go).expect("same shapes");
        }
        let told = loss().double_value(&[]);
        assert!(told < 0.3, "2 ln 2 without knowing: {told}");
    }
}
