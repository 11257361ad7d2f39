//! The emoji world's backbone: a diffusion transformer with adaLN-zero (DiT, arXiv 2212.09748; SiT, 2401.08740) whose
//! image tokens attend to image and text tokens jointly, as in MMDiT (2403.03206).
//!
//! Deviation: text tokens come from a frozen encoder and bring keys and values only; they are not updated, which saves
//! a fifth of the work at 64 image tokens.

mod family;

use dmdr_config::Prediction;
use dmdr_diffusion::Parameterization;
use dmdr_tensor::{AdapterSpec, Init, ParamStore, Scope, Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    Call, Conditioning, Denoiser, ModelError, Stored,
    attention::Attention,
    blocks::Blocks,
    layers::{
        Embedder, LayerNorm, Linear, Mlp, gated, modulate, patchify, sincos_positions,
        timestep_features, unpatchify,
    },
};

/// Sizes; stored in the weight file's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DitConfig {
    /// Image side in pixels.
    pub image_size: i64,
    /// Channels.
    pub channels: i64,
    /// Patch side in pixels.
    pub patch: i64,
    /// Width.
    pub dim: i64,
    /// Blocks.
    pub depth: i64,
    /// Attention heads.
    pub heads: i64,
    /// Width of text tokens.
    pub context_dim: i64,
    /// Width of the pooled text vector.
    pub pooled_dim: i64,
    /// Meaning of the output.
    pub prediction: Prediction,
}

/// The network.
#[derive(Debug)]
pub struct Dit {
    config: DitConfig,
    x_embedder: Linear,
    positions: Tensor,
    t_embedder: Embedder,
    pooled_embedder: Linear,
    blocks: Blocks<Block>,
    final_norm: LayerNorm,
    final_modulation: Linear,
    final_linear: Linear,
}

const TIME_FEATURES: i64 = 256;

impl Dit {
    /// Where LoRA goes by default: all layers of the blocks.
    pub const LORA_TARGETS: [&str; 1] = ["blocks.*"];

    /// Builds the network with parameters in `store` and LoRA as `adapters` say.
    ///
    /// # Errors
    /// An adapter target that matches no layer.
    pub fn new(
        store: &ParamStore,
        adapters: &[AdapterSpec],
        config: DitConfig,
    ) -> Result<Self, ModelError> {
        let scope = Scope::root(store, adapters);
        let DitConfig {
            dim,
            patch,
            channels,
            ..
        } = config;
        let patch_dim = channels * patch * patch;
        let xavier = Init::XavierUniform;
        let net = Self {
            x_embedder: Linear::precise(&scope.sub("x_embedder"), patch_dim, dim, xavier),
            positions: sincos_positions(config.image_size / patch, dim, scope.device()),
            t_embedder: Embedder::new(
                &scope.sub("t_embedder"),
                ["0", "2"],
                [TIME_FEATURES, dim, dim],
            ),
            pooled_embedder: Linear::precise(
                &scope.sub("pooled_embedder"),
                config.pooled_dim,
                dim,
                Init::Normal(0.02),
            ),
            blocks: Blocks::new(
                &scope,
                (0..config.depth).map(|index| Block::new(&scope.sub("blocks").sub(index), &config)),
            ),
            final_norm: LayerNorm::plain(dim),
            final_modulation: Linear::precise(
                &scope.sub("final_layer.modulation"),
                dim,
                2 * dim,
                Init::Zeros,
            ),
            final_linear: Linear::precise(
                &scope.sub("final_layer.linear"),
                dim,
                patch_dim,
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
    pub fn config(&self) -> &DitConfig {
        &self.config
    }
}

impl Stored for Dit {
    const FORMAT: &'static str = "dmdr.dit";
    type Config = DitConfig;
}

impl Denoiser for Dit {
    fn forward(&self, x_t: &Tensor, t: &Tensor, cond: &Conditioning, call: &Call<'_>) -> Tensor {
        let c = self
            .t_embedder
            .forward(&timestep_features(t, TIME_FEATURES), call)
            + self.pooled_embedder.forward(&cond.pooled, call);
        let c = c.silu(); // [B, D]

        let patches = patchify(x_t, self.config.patch);
        let x = self.x_embedder.forward(&patches, call) + &self.positions; // [B, N, D]
        let x = self
            .blocks
            .run(x, &[&c, &cond.tokens], call, |block, inputs, call| {
                block.forward(&inputs[0], &inputs[1], &inputs[2], call)
            });

        let modulation = self
            .final_modulation
            .forward(&c, call)
            .unsqueeze(1)
            .chunk(2, -1);
        let x = modulate(&self.final_norm.forward(&x), &modulation[0], &modulation[1]);
        unpatchify(
            &self.final_linear.forward(&x, call),
            self.config.patch,
            self.config.channels,
        )
    }

    fn parameterization(&self) -> Parameterization {
        match self.config.prediction {
            Prediction::X0 => Parameterization::X0,
            Prediction::Velocity => Parameterization::Flow,
        }
    }

    fn feature_widths(&self) -> Vec<i64> {
        vec![self.config.dim; self.blocks.len()]
    }
}

/// One adaLN-zero block: modulated joint attention, modulated MLP, both gated.
#[derive(Debug)]
struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
    modulation: Linear,
}

impl Block {
    fn new(scope: &Scope<'_>, config: &DitConfig) -> Self {
        let DitConfig {
            dim,
            heads,
            context_dim,
            ..
        } = *config;
        Self {
            norm1: LayerNorm::plain(dim),
            attn: Attention::joint(&scope.sub("attn"), dim, heads, context_dim),
            norm2: LayerNorm::plain(dim),
            mlp: Mlp::new(&scope.sub("mlp"), dim, 4 * dim),
            modulation: Linear::modulation(&scope.sub("modulation"), dim, 6 * dim),
        }
    }

    /// `x [B, N, D]`, `c [B, D]` after `SiLU`, `context [B, L, Dc]`.
    fn forward(&self, x: &Tensor, c: &Tensor, context: &Tensor, call: &Call<'_>) -> Tensor {
        let m = self.modulation.forward(c, call).unsqueeze(1).chunk(6, -1); // shift, scale, gate, twice
        let attended = self.attn.forward(
            &modulate(&self.norm1.forward(x), &m[0], &m[1]),
            Some(context),
            false,
            call,
        );
        let x = gated(x, &m[2], &attended);
        let mixed = self
            .mlp
            .forward(&modulate(&self.norm2.forward(&x), &m[3], &m[4]), call);
        gated(&x, &m[5], &mixed)
    }
}
