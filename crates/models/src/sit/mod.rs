//! SiT (arXiv 2401.08740): DiT (2212.09748) trained as a stochastic interpolant, conditional on a class.
//!
//! Parameters carry the names of the published checkpoints (github.com/willisma/SiT, `models.py`), so a converted
//! checkpoint loads as it is; `tests/parity/sit.rs` compares values and gradients with an independent PyTorch module.

mod family;

use dmdr_diffusion::Parameterization;
use dmdr_tensor::{AdapterSpec, Init, Kind, ParamStore, Scope, Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    Call, Conditioning, Denoiser, ModelError, Stored,
    attention::Attention,
    blocks::Blocks,
    layers::{
        Embedder, LayerNorm, Linear, Mlp, PatchEmbed, gated, modulate, sincos_positions_mae,
        sinusoid_features, unpatchify_channels_last,
    },
};

/// Which way a checkpoint's time runs. The trait's way is `x_t = (1 - t) x0 + t eps`, velocity `eps - x0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolant {
    /// Data at `t = 0`, as the trait: checkpoints of REPA (2410.06940) and of DMDR's class-conditional demo.
    DataAtZero,
    /// Data at `t = 1` and velocity `x0 - eps`: the official checkpoints. They are asked at `1 - t` and negated.
    DataAtOne,
}

/// Sizes; stored in the weight file's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SitConfig {
    /// Latent side.
    pub input_size: i64,
    /// Patch side in latent pixels.
    pub patch_size: i64,
    /// Latent channels.
    pub in_channels: i64,
    /// Width.
    pub hidden_size: i64,
    /// Blocks.
    pub depth: i64,
    /// Attention heads.
    pub num_heads: i64,
    /// Classes; the label table has one more row, the null class of guidance.
    pub num_classes: i64,
    /// The head has twice the channels; the second half, a variance that is not used, is dropped.
    pub learn_sigma: bool,
    /// Which way time runs.
    pub interpolant: Interpolant,
}

impl SitConfig {
    /// The official SiT-XL/2 for ImageNet at 256 x 256: 675 million parameters.
    pub fn xl_2() -> Self {
        Self {
            input_size: 32,
            patch_size: 2,
            in_channels: 4,
            hidden_size: 1152,
            depth: 28,
            num_heads: 16,
            num_classes: 1000,
            learn_sigma: true,
            interpolant: Interpolant::DataAtOne,
        }
    }
}

/// The network. Latents `[B, 4, H, H]` of the autoencoder sd-vae-ft-ema, scaled by 0.18215.
///
/// The class is conditioning like a caption, but its embedding belongs to the network: student, fake score and teacher
/// each train or keep a table of their own. So [`Conditioning`] carries the class *number*, as the one entry of
/// `pooled [B, 1]` (f32 holds it exactly), and every network looks it up in its table; [`Self::condition`] makes one.
#[derive(Debug)]
pub struct Sit {
    config: SitConfig,
    x_embedder: PatchEmbed,
    positions: Tensor,
    t_embedder: Embedder,
    /// `[num_classes + 1, D]`.
    label_table: Tensor,
    blocks: Blocks<Block>,
    final_norm: LayerNorm,
    final_modulation: Linear,
    final_linear: Linear,
}

const TIME_FEATURES: i64 = 256;

impl Sit {
    /// Where LoRA goes by default: the projections of all attentions.
    pub const LORA_TARGETS: [&str; 1] = ["blocks.*.attn.*"];

    /// Builds the network with parameters in `store` and LoRA as `adapters` say.
    ///
    /// # Errors
    /// An adapter target that matches no layer.
    pub fn new(
        store: &ParamStore,
        adapters: &[AdapterSpec],
        config: SitConfig,
    ) -> Result<Self, ModelError> {
        let scope = Scope::root(store, adapters);
        let (dim, patch) = (config.hidden_size, config.patch_size);
        let side = config.input_size / patch;
        let channels = config.in_channels * if config.learn_sigma { 2 } else { 1 };
        let last = scope.sub("final_layer");
        let net = Self {
            x_embedder: PatchEmbed::new(&scope.sub("x_embedder"), config.in_channels, dim, patch),
            positions: scope.buffer("pos_embed", &[1, side * side, dim], || {
                sincos_positions_mae(side, 1.0, dim, scope.device())
            }),
            t_embedder: Embedder::new(
                &scope.sub("t_embedder.mlp"),
                ["0", "2"],
                [TIME_FEATURES, dim, dim],
            ),
            label_table: scope.param(
                "y_embedder.embedding_table.weight",
                &[config.num_classes + 1, dim],
                Init::Normal(0.02),
            ),
            blocks: Blocks::new(
                &scope,
                (0..config.depth).map(|index| {
                    Block::new(&scope.sub("blocks").sub(index), dim, config.num_heads)
                }),
            ),
            final_norm: LayerNorm::plain(dim),
            final_modulation: Linear::precise(
                &last.sub("adaLN_modulation.1"),
                dim,
                2 * dim,
                Init::Zeros,
            ),
            final_linear: Linear::precise(
                &last.sub("linear"),
                dim,
                patch * patch * channels,
                Init::Zeros,
            ),
            config,
        };
        for adapter in adapters {
            adapter.check()?;
        }
        Ok(net)
    }

    /// Sizes.
    pub fn config(&self) -> &SitConfig {
        &self.config
    }

    /// Conditioning on `labels [B]` (i64, `0 .. num_classes`; `num_classes` itself is the null class of guidance).
    pub fn condition(labels: &Tensor) -> Conditioning {
        let pooled = labels.to_kind(Kind::Float).unsqueeze(1);
        Conditioning {
            tokens: Tensor::zeros([pooled.size()[0], 1, 0], (Kind::Float, pooled.device())),
            pooled,
        }
    }

    /// Velocity in the checkpoint's own time and sign.
    fn velocity(&self, x: &Tensor, t: &Tensor, cond: &Conditioning, call: &Call<'_>) -> Tensor {
        let labels = cond.pooled.select(1, 0).to_kind(Kind::Int64);
        let label = Tensor::embedding(&self.label_table, &labels, -1, false, false);
        let time = sinusoid_features(t, TIME_FEATURES); // raw times in [0, 1], not thousandths
        let c = (self.t_embedder.forward(&time, call) + label).silu(); // [B, D]

        let tokens = self.x_embedder.forward(x) + &self.positions; // [B, N, D]
        let tokens = self.blocks.run(tokens, &[&c], call, |block, inputs, call| {
            block.forward(&inputs[0], &inputs[1], call)
        });

        let m = self
            .final_modulation
            .forward(&c, call)
            .unsqueeze(1)
            .chunk(2, -1);
        let tokens = modulate(&self.final_norm.forward(&tokens), &m[0], &m[1]);
        let side = self.config.input_size / self.config.patch_size;
        let pixels = self.final_linear.forward(&tokens, call);
        unpatchify_channels_last(&pixels, [side, side], self.config.patch_size).narrow(
            1,
            0,
            self.config.in_channels,
        )
    }
}

impl Stored for Sit {
    const FORMAT: &'static str = "dmdr.sit";
    type Config = SitConfig;
}

impl Denoiser for Sit {
    fn forward(&self, x_t: &Tensor, t: &Tensor, cond: &Conditioning, call: &Call<'_>) -> Tensor {
        match self.config.interpolant {
            Interpolant::DataAtZero => self.velocity(x_t, t, cond, call),
            Interpolant::DataAtOne => -self.velocity(x_t, &(1.0 - t), cond, call),
        }
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::Flow
    }

    fn feature_widths(&self) -> Vec<i64> {
        vec![self.config.hidden_size; self.blocks.len()]
    }
}

/// One adaLN-zero block: modulated attention, modulated MLP, both gated.
#[derive(Debug)]
struct Block {
    norm: LayerNorm,
    attn: Attention,
    mlp: Mlp,
    modulation: Linear,
}

impl Block {
    fn new(scope: &Scope<'_>, dim: i64, heads: i64) -> Self {
        Self {
            norm: LayerNorm::plain(dim),
            attn: Attention::new(&scope.sub("attn"), dim, heads),
            mlp: Mlp::new(&scope.sub("mlp"), dim, 4 * dim),
            modulation: Linear::modulation(&scope.sub("adaLN_modulation.1"), dim, 6 * dim),
        }
    }

    /// `x [B, N, D]`, `c [B, D]` after SiLU.
    fn forward(&self, x: &Tensor, c: &Tensor, call: &Call<'_>) -> Tensor {
        let m = self.modulation.forward(c, call).unsqueeze(1).chunk(6, -1); // shift, scale, gate, twice
        let modulated = modulate(&self.norm.forward(x), &m[0], &m[1]);
        let x = gated(x, &m[2], &self.attn.forward(&modulated, None, false, call));
        let modulated = modulate(&self.norm.forward(&x), &m[3], &m[4]);
        gated(&x, &m[5], &self.mlp.forward(&modulated, call))
    }
}
