//! Stable Diffusion 3 and 3.5: the multimodal diffusion transformer MMDiT (arXiv 2403.03206).
//!
//! Parameters carry the names of diffusers' `SD3Transformer2DModel` (0.42.1, `models/transformers/transformer_sd3.py`),
//! so its folders load as they are; `tests/parity/sd3.rs` compares values and gradients with it. Deviations: the residual
//! streams, the modulation and the layers at the edges stay f32 whatever the compute kind, and a fresh network starts
//! as DiT's adaLN-zero instead of PyTorch's defaults.

mod block;
mod config;
pub(crate) mod family;
mod names;
mod text;

use dmdr_diffusion::Parameterization;
use dmdr_tensor::{AdapterSpec, Init, ParamStore, Scope, Tensor};
use serde_json::{Map, Value};

use self::block::JointBlock;
use crate::{
    Call, Conditioning, Denoiser, Diffusers, ModelError,
    blocks::Blocks,
    diffusers::one_for_all,
    layers::{
        Embedder, LayerNorm, Linear, PatchEmbed, modulate, sincos_positions_mae, timestep_features,
        unpatchify_channels_last,
    },
};

pub use self::{
    config::{QkNormalization, Sd3Config},
    text::Sd3Text,
};

const TIME_FEATURES: i64 = 256;

/// The network. Latents `[B, 16, H, W]` (scaled and shifted as SD3's autoencoder says), text tokens `[B, L, 4096]`
/// (CLIP's padded to T5's width, then T5's), pooled text `[B, 2048]`; it predicts the flow `eps - x0`.
#[derive(Debug)]
pub struct Sd3 {
    config: Sd3Config,
    pos_embed: PatchEmbed,
    /// `[1, max * max, D]`, of which the centre is used.
    positions: Tensor,
    timestep_embedder: Embedder,
    text_embedder: Embedder,
    context_embedder: Linear,
    blocks: Blocks<JointBlock>,
    norm: LayerNorm,
    norm_out: Linear,
    proj_out: Linear,
}

impl Sd3 {
    /// Where LoRA goes by default: all projections of all attentions, as in diffusers' training scripts for SD3.
    pub const LORA_TARGETS: [&str; 1] = ["transformer_blocks.*.attn*"];

    /// Builds the network with parameters in `store` and LoRA as `adapters` say.
    ///
    /// # Errors
    /// Sizes that contradict each other; an adapter target that matches no layer.
    pub fn new(
        store: &ParamStore,
        adapters: &[AdapterSpec],
        config: Sd3Config,
    ) -> Result<Self, ModelError> {
        config.check()?;
        let scope = Scope::root(store, adapters);
        let (dim, patch) = (config.dim(), config.patch_size);
        let side = config.pos_embed_max_size;
        // The grid covers `max` places with the coordinates of the training size, whatever `max` is.
        let spacing = (config.sample_size / patch) as f64 / side as f64;
        let embed = scope.sub("time_text_embed");
        let names = ["linear_1", "linear_2"];
        let patch_dim = config.out_channels * patch * patch;
        let net = Self {
            pos_embed: PatchEmbed::new(&scope.sub("pos_embed"), config.in_channels, dim, patch),
            positions: scope.buffer("pos_embed.pos_embed", &[1, side * side, dim], || {
                sincos_positions_mae(side, spacing, dim, scope.device())
            }),
            timestep_embedder: Embedder::new(
                &embed.sub("timestep_embedder"),
                names,
                [TIME_FEATURES, dim, dim],
            ),
            text_embedder: Embedder::new(
                &embed.sub("text_embedder"),
                names,
                [config.pooled_projection_dim, dim, dim],
            ),
            context_embedder: Linear::precise(
                &scope.sub("context_embedder"),
                config.joint_attention_dim,
                dim,
                Init::XavierUniform,
            ),
            blocks: Blocks::new(
                &scope,
                (0..config.num_layers).map(|index| {
                    JointBlock::new(&scope.sub("transformer_blocks").sub(index), &config, index)
                }),
            ),
            norm: LayerNorm::plain(dim),
            norm_out: Linear::precise(&scope.sub("norm_out.linear"), dim, 2 * dim, Init::Zeros),
            proj_out: Linear::precise(&scope.sub("proj_out"), dim, patch_dim, Init::Zeros),
            config,
        };
        for adapter in adapters {
            adapter.check()?;
        }
        Ok(net)
    }

    /// Sizes.
    pub fn config(&self) -> &Sd3Config {
        &self.config
    }

    /// The centre `[1, h * w, D]` of the stored positions.
    fn centre(&self, [h, w]: [i64; 2]) -> Tensor {
        let max = self.config.pos_embed_max_size;
        assert!(
            h <= max && w <= max,
            "{h} x {w} patches, but SD3's positions end at {max} x {max}"
        );
        self.positions
            .reshape([max, max, -1])
            .narrow(0, (max - h) / 2, h)
            .narrow(1, (max - w) / 2, w)
            .reshape([1, h * w, -1])
    }
}

impl Diffusers for Sd3 {
    const CLASS: &'static str = "SD3Transformer2DModel";
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Config = Sd3Config;

    fn unify(arguments: &mut Map<String, Value>) {
        if arguments["out_channels"].is_null() {
            arguments["out_channels"] = arguments["in_channels"].clone();
        }
        one_for_all(&mut arguments["sample_size"]);
        if arguments["dual_attention_layers"].is_null() {
            arguments["dual_attention_layers"] = Value::Array(Vec::new());
        }
    }

    fn check(config: &Sd3Config) -> Result<(), ModelError> {
        config.check()
    }
}

impl Denoiser for Sd3 {
    /// # Panics
    /// If `x_t` has more patches along a side than there are positions.
    fn forward(&self, x_t: &Tensor, t: &Tensor, cond: &Conditioning, call: &Call<'_>) -> Tensor {
        let (_, _, height, width) = x_t.size4().expect("latents are [B, C, H, W]");
        let patch = self.config.patch_size;
        let grid = [height / patch, width / patch];
        let time = timestep_features(t, TIME_FEATURES);
        let c = self.timestep_embedder.forward(&time, call)
            + self.text_embedder.forward(&cond.pooled, call);
        let c = c.silu(); // [B, D]

        let x = self.pos_embed.forward(x_t) + self.centre(grid); // [B, N, D]
        let context = self.context_embedder.forward(&cond.tokens, call); // [B, L, D]
        let num_image = x.size()[1];
        let both = Tensor::cat(&[x, context], 1);
        call.keep_image(num_image);
        let x = self
            .blocks
            .run(both, &[&c], call, move |block, inputs, call| {
                let num_text = inputs[0].size()[1] - num_image;
                let image = inputs[0].narrow(1, 0, num_image);
                let text = inputs[0].narrow(1, num_image, num_text);
                match block.forward(&image, &text, &inputs[1], call) {
                    (image, Some(text)) => Tensor::cat(&[image, text], 1),
                    (image, None) => image,
                }
            });

        // AdaLayerNormContinuous: scale first, unlike everywhere else.
        let m = self.norm_out.forward(&c, call).unsqueeze(1).chunk(2, -1);
        let x = modulate(&self.norm.forward(&x), &m[1], &m[0]);
        unpatchify_channels_last(&self.proj_out.forward(&x, call), grid, patch)
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::Flow
    }

    fn feature_widths(&self) -> Vec<i64> {
        vec![self.config.dim(); self.blocks.len()]
    }
}
