//! Z-Image (arXiv 2511.22699): a single-stream diffusion transformer, in which image and caption tokens share all weights
//! after two small refiners of their own.
//!
//! Parameters carry the names of diffusers' `ZImageTransformer2DModel` (0.42.1,
//! `models/transformers/transformer_z_image.py`), so its folders load as they are; `tests/parity/z_image.rs` compares
//! values and gradients with it. Deviations: the residual stream, the modulation and the layers at the edges stay f32
//! whatever the compute kind; only the text-to-image form is built (one frame, one image, no SigLIP features).

mod block;
mod config;
pub(crate) mod family;
mod names;
mod rope;
mod text;

use std::rc::Rc;

use dmdr_diffusion::Parameterization;
use dmdr_tensor::{AdapterSpec, Init, Kind, ParamStore, Scope, Tensor};

use self::{
    block::{Block, Places, Sequence},
    rope::Rope,
};
use crate::{
    Call, Conditioning, Denoiser, Diffusers, ModelError,
    blocks::Blocks,
    layers::{
        Embedder, LayerNorm, Linear, RmsNorm, patchify_channels_last, timestep_features,
        unpatchify_channels_last,
    },
};

pub use self::{config::ZImageConfig, text::ZImageText};

const TIME_FEATURES: i64 = 256;
/// Image and caption are padded, each with a learned token, to a multiple of this.
const MULTIPLE: i64 = 32;

/// The network. Latents `[B, 16, H, W]` of Flux' autoencoder.
///
/// Captions differ in length, and the network sees it: a caption's own padding is attended, and image positions start
/// behind it. So [`Conditioning`] carries token features `[B, L, 2560]` (Qwen3's hidden states before its last layer)
/// and, as the one entry of `pooled [B, 1]`, how many of the `L` belong to the caption; [`ZImageText::condition`] makes one.
#[derive(Debug)]
pub struct ZImage {
    config: ZImageConfig,
    x_embedder: Linear,
    x_pad_token: Tensor,
    cap_norm: RmsNorm,
    cap_embedder: Linear,
    cap_pad_token: Tensor,
    t_embedder: Embedder,
    rope: Rope,
    noise_refiner: Blocks<Block>,
    context_refiner: Blocks<Block>,
    layers: Blocks<Block>,
    final_norm: LayerNorm,
    final_modulation: Linear,
    final_linear: Linear,
}

impl ZImage {
    /// Where LoRA goes by default: the projections of all attentions of the main layers.
    pub const LORA_TARGETS: [&str; 1] = ["layers.*.attention.*"];

    /// Builds the network with parameters in `store` and LoRA as `adapters` say.
    ///
    /// # Errors
    /// Sizes that contradict each other; an adapter target that matches no layer.
    pub fn new(
        store: &ParamStore,
        adapters: &[AdapterSpec],
        config: ZImageConfig,
    ) -> Result<Self, ModelError> {
        config.check()?;
        let scope = Scope::root(store, adapters);
        let dim = config.dim;
        let patch_dim = config.in_channels * config.patch() * config.patch();
        let key = format!("{}-1", config.patch());
        let last = scope.sub("all_final_layer").sub(&key);
        let cap = scope.sub("cap_embedder");
        let xavier = Init::XavierUniform;
        let blocks = |name: &str, count, is_modulated| {
            let block = |index: i64| Block::new(&scope.sub(name).sub(index), &config, is_modulated);
            Blocks::new(&scope, (0..count).map(block))
        };
        let net = Self {
            x_embedder: Linear::precise(
                &scope.sub("all_x_embedder").sub(&key),
                patch_dim,
                dim,
                xavier,
            ),
            x_pad_token: scope.param("x_pad_token", &[1, dim], Init::Zeros),
            cap_norm: RmsNorm::new(&cap.sub(0), config.cap_feat_dim, config.norm_eps),
            cap_embedder: Linear::precise(&cap.sub(1), config.cap_feat_dim, dim, xavier),
            cap_pad_token: scope.param("cap_pad_token", &[1, dim], Init::Zeros),
            t_embedder: Embedder::new(
                &scope.sub("t_embedder.mlp"),
                ["0", "2"],
                [TIME_FEATURES, config.time_hidden, config.time_dim()],
            ),
            rope: Rope::new(&config.axes_dims, config.rope_theta),
            noise_refiner: blocks("noise_refiner", config.n_refiner_layers, true),
            context_refiner: blocks("context_refiner", config.n_refiner_layers, false),
            layers: blocks("layers", config.n_layers, true),
            final_norm: LayerNorm::plain(dim),
            final_modulation: Linear::precise(
                &last.sub("adaLN_modulation.1"),
                config.time_dim(),
                dim,
                Init::Zeros,
            ),
            final_linear: Linear::precise(&last.sub("linear"), dim, patch_dim, Init::Zeros),
            config,
        };
        for adapter in adapters {
            adapter.check()?;
        }
        Ok(net)
    }

    /// Sizes.
    pub fn config(&self) -> &ZImageConfig {
        &self.config
    }

    /// Embedded patches `[B, N, D]`, `N` a multiple of 32, behind captions of `padded [B]` tokens.
    fn image(&self, x_t: &Tensor, padded: &Tensor, grid: [i64; 2], call: &Call<'_>) -> Sequence {
        let patches = patchify_channels_last(x_t, self.config.patch());
        let x = self.x_embedder.forward(&patches, call);
        let (b, num, dim) = x.size3().expect("tokens are [B, N, D]");
        let num_pads = round_up(num) - num;
        let pads = self.x_pad_token.expand([b, num_pads, dim], false);
        Sequence {
            x: Tensor::cat(&[x, pads], 1),
            places: Rc::new(Places {
                rotation: self
                    .rope
                    .rotation(&rope::image_positions(padded, grid, num_pads)),
                mask: None,
            }),
        }
    }

    /// Embedded captions `[B, L, D]`, `L` a multiple of 32. Behind a caption's end come learned pads up to its own
    /// multiple of 32, `padded [B]`; what is behind those is masked.
    fn caption(&self, cond: &Conditioning, padded: &Tensor, call: &Call<'_>) -> Sequence {
        let x = self.cap_norm.forward(&cond.tokens);
        let x = self.cap_embedder.forward(&x, call);
        let (b, num, dim) = x.size3().expect("tokens are [B, L, D]");
        let length = round_up(num);
        let x = x.constant_pad_nd([0, 0, 0, length - num]);
        let place = Tensor::arange(length, (Kind::Int64, x.device())).unsqueeze(0); // [1, L]
        let is_token = place.lt_tensor(&lengths(cond).unsqueeze(1)); // [B, L]
        let x = x.where_self(
            &is_token.unsqueeze(2),
            &self.cap_pad_token.expand([b, length, dim], false),
        );
        let attended = place.lt_tensor(&padded.unsqueeze(1));
        let is_whole = attended.all().int64_value(&[]) == 1;
        Sequence {
            x,
            places: Rc::new(Places {
                rotation: self
                    .rope
                    .rotation(&rope::caption_positions(b, length, padded.device())),
                mask: (!is_whole).then_some(attended), // without a mask attention is faster
            }),
        }
    }
}

impl Diffusers for ZImage {
    const CLASS: &'static str = "ZImageTransformer2DModel";
    const DEFAULTS: &'static str = config::DEFAULTS;
    type Config = ZImageConfig;

    fn check(config: &ZImageConfig) -> Result<(), ModelError> {
        config.check()
    }
}

impl Denoiser for ZImage {
    /// The published network counts time from noise (0) to data (1) and predicts `x0 - eps`: it is asked at `1 - t` and
    /// negated.
    fn forward(&self, x_t: &Tensor, t: &Tensor, cond: &Conditioning, call: &Call<'_>) -> Tensor {
        let (_, _, height, width) = x_t.size4().expect("latents are [B, C, H, W]");
        let patch = self.config.patch();
        let grid = [height / patch, width / patch];
        let time = timestep_features(&(1.0 - t), TIME_FEATURES);
        let c = self.t_embedder.forward(&time, call); // [B, 256]
        let padded =
            (lengths(cond) + (MULTIPLE - 1)).divide_scalar_mode(MULTIPLE, "floor") * MULTIPLE;

        let mut image = self.image(x_t, &padded, grid, call);
        image.x = run(&self.noise_refiner, &image, Some(&c), &call.untapped());
        let mut caption = self.caption(cond, &padded, call);
        caption.x = run(&self.context_refiner, &caption, None, &call.untapped());
        let num_image = grid[0] * grid[1];
        call.keep_image(num_image);
        let x = run(&self.layers, &image.then(&caption), Some(&c), call);

        let x = x.narrow(1, 0, num_image);
        let scale = self.final_modulation.forward(&c.silu(), call).unsqueeze(1);
        let x = self.final_norm.forward(&x) * (scale + 1.0);
        -unpatchify_channels_last(&self.final_linear.forward(&x, call), grid, patch)
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::Flow
    }

    /// The main layers; the refiners before them see the image or the caption alone.
    fn feature_widths(&self) -> Vec<i64> {
        vec![self.config.dim; self.layers.len()]
    }
}

/// The tokens of `sequence` behind all `blocks`, which are given the embedded time `c` if they are modulated.
fn run(blocks: &Blocks<Block>, sequence: &Sequence, c: Option<&Tensor>, call: &Call<'_>) -> Tensor {
    let places = Rc::clone(&sequence.places);
    let with: Vec<&Tensor> = c.into_iter().collect();
    blocks.run(
        sequence.x.shallow_clone(),
        &with,
        call,
        move |block, inputs, call| block.forward(&inputs[0], &places, inputs.get(1), call),
    )
}

/// Tokens in each caption, `[B]`, i64.
fn lengths(cond: &Conditioning) -> Tensor {
    cond.pooled.select(1, 0).to_kind(Kind::Int64)
}

fn round_up(num: i64) -> i64 {
    (num + MULTIPLE - 1) / MULTIPLE * MULTIPLE
}
