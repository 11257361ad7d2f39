//! SDXL's UNet (arXiv 2307.01952).
//!
//! Parameters carry the names of diffusers' `UNet2DConditionModel` (0.42.1, `models/unets/unet_2d_condition.py`), so its
//! folders load as they are; `tests/parity/sdxl.rs` compares values and gradients with it. Deviations: the residual streams,
//! the norms and the layers at the edges stay f32 whatever the compute kind. Of the many forms of the class only SDXL's is built;
//! other settings are refused.

mod config;
pub(crate) mod family;
mod names;
mod stage;
mod text;
mod transformer;

use dmdr_diffusion::{Parameterization, timesteps};
use dmdr_tensor::{AdapterSpec, Kind, ParamStore, Scope, Tensor};
use serde_json::{Map, Value};

use self::{
    config::{FIXED, NUM_TIME_IDS},
    stage::{DownStage, Inputs, MidStage, UpStage},
};
use crate::{
    Call, Conditioning, Denoiser, Diffusers, ModelError,
    conv::{Conv2d, GroupNorm, Groups},
    layers::{Embedder, sinusoid_features},
};

pub use self::{
    config::{DownBlockType, SdxlConfig, UpBlockType},
    text::SdxlText,
};

/// The network. Latents `[B, 4, H, W]` of SDXL's autoencoder, text tokens `[B, 77, 2048]`, pooled text `[B, 1280]` and
/// six sizes ([`Self::condition`]); it predicts the noise on the schedule
/// [`ScaledLinear`](dmdr_diffusion::Schedule::ScaledLinear), whose timesteps it is given.
#[derive(Debug)]
pub struct SdxlUnet {
    config: SdxlConfig,
    conv_in: Conv2d,
    time_embedding: Embedder,
    add_embedding: Embedder,
    down: Vec<DownStage>,
    mid: MidStage,
    up: Vec<UpStage>,
    norm: GroupNorm,
    conv_out: Conv2d,
}

impl SdxlUnet {
    /// Numbers that come with a caption behind its pooled text ([`Self::condition`]).
    pub const NUM_SIZES: i64 = NUM_TIME_IDS;
    /// Where LoRA goes by default: every attention, MLP, residual block and change of size, as in DMD2 and LCM-LoRA.
    pub const LORA_TARGETS: [&str; 12] = [
        "*.to_q",
        "*.to_k",
        "*.to_v",
        "*.to_out.0",
        "*.ff.net.*",
        "*.proj_in",
        "*.proj_out",
        "*.conv1",
        "*.conv2",
        "*.conv_shortcut",
        "*.time_emb_proj",
        "*samplers.0.conv",
    ];

    /// Builds the network with parameters in `store` and LoRA as `adapters` say.
    ///
    /// # Errors
    /// Sizes that contradict each other; an adapter target that matches no layer.
    pub fn new(
        store: &ParamStore,
        adapters: &[AdapterSpec],
        config: SdxlConfig,
    ) -> Result<Self, ModelError> {
        config.check()?;
        let scope = Scope::root(store, adapters);
        let channels = &config.block_out_channels;
        let (stages, first, time) = (channels.len(), channels[0], config.time_width());
        let embedder = |name, width| {
            let names = ["linear_1", "linear_2"];
            Embedder::new(&scope.sub(name), names, [width, time, time])
        };
        let norm = Groups {
            groups: config.norm_num_groups,
            eps: config.norm_eps,
        };
        let mut skips = skip_channels(&config);
        let net = Self {
            conv_in: Conv2d::precise(&scope.sub("conv_in"), [config.in_channels, first], 3),
            time_embedding: embedder("time_embedding", first),
            add_embedding: embedder(
                "add_embedding",
                config.projection_class_embeddings_input_dim,
            ),
            down: (0..stages)
                .map(|index| DownStage::new(&scope.sub("down_blocks").sub(index), &config, index))
                .collect(),
            mid: MidStage::new(&scope.sub("mid_block"), &config),
            up: (0..stages)
                .map(|order| {
                    let scope = scope.sub("up_blocks").sub(order);
                    UpStage::new(&scope, &config, order, &mut skips)
                })
                .collect(),
            norm: GroupNorm::new(&scope.sub("conv_norm_out"), first, norm),
            conv_out: Conv2d::precise(&scope.sub("conv_out"), [first, config.out_channels], 3),
            config,
        };
        for adapter in adapters {
            adapter.check()?;
        }
        Ok(net)
    }

    /// Sizes.
    pub fn config(&self) -> &SdxlConfig {
        &self.config
    }

    /// Conditioning on text tokens `[B, L, 2048]`, pooled text `[B, 1280]` and `sizes [B, 6]`: original height and width,
    /// top and left of the crop, target height and width, in pixels. The sizes travel behind the pooled text. The null
    /// caption of guidance is zeros for both encodings, with the sizes of the others.
    pub fn condition(tokens: Tensor, pooled: &Tensor, sizes: &Tensor) -> Conditioning {
        let sizes = sizes.to_kind(Kind::Float);
        Conditioning {
            tokens,
            pooled: Tensor::cat(&[pooled.to_kind(Kind::Float), sizes], 1),
        }
    }

    /// What the layers know about time, sizes and pooled text, `[B, T]`.
    fn embedded(&self, t: &Tensor, cond: &Conditioning, call: &Call<'_>) -> Tensor {
        let pooled_dim = self.config.pooled_dim();
        let pooled = cond.pooled.narrow(1, 0, pooled_dim);
        let sizes = cond.pooled.narrow(1, pooled_dim, NUM_TIME_IDS);
        let sizes = sinusoid_features(&sizes.flatten(0, 1), self.config.addition_time_embed_dim)
            .reshape([cond.batch(), -1]);
        let added = Tensor::cat(&[pooled, sizes], 1);
        let time = sinusoid_features(&timesteps(t), self.config.block_out_channels[0]);
        self.time_embedding.forward(&time, call) + self.add_embedding.forward(&added, call)
    }
}

/// Channels of the maps that the way down leaves for the way up.
fn skip_channels(config: &SdxlConfig) -> Vec<i64> {
    let channels = &config.block_out_channels;
    let mut skips = vec![channels[0]];
    for (index, &width) in channels.iter().enumerate() {
        let downsampled = i64::from(index + 1 < channels.len());
        skips.extend((0..config.layers_per_block + downsampled).map(|_| width));
    }
    skips
}

impl Diffusers for SdxlUnet {
    const CLASS: &'static str = "UNet2DConditionModel";
    const DEFAULTS: &'static str = config::DEFAULTS;
    const FIXED: &'static [(&'static str, &'static str)] = FIXED;
    type Config = SdxlConfig;

    fn unify(arguments: &mut Map<String, Value>) {
        config::unify(arguments);
    }

    fn check(config: &SdxlConfig) -> Result<(), ModelError> {
        config.check()
    }
}

impl Denoiser for SdxlUnet {
    /// `t` is rounded to a timestep ([`timesteps`]).
    fn forward(&self, x_t: &Tensor, t: &Tensor, cond: &Conditioning, call: &Call<'_>) -> Tensor {
        let time = self.embedded(t, cond, call).silu();
        let inputs = Inputs {
            time: &time,
            text: &cond.tokens,
        };
        let mut x = self.conv_in.forward(x_t, call);
        let mut skips = vec![x.shallow_clone()];
        let within = &call.untapped(); // taps are at the stages, not at the blocks within
        for stage in &self.down {
            x = stage.forward(x, &mut skips, inputs, within);
            call.record(&x);
        }
        x = self.mid.forward(&x, inputs, within);
        call.record(&x);
        for stage in &self.up {
            x = stage.forward(x, &mut skips, inputs, within);
            call.record(&x);
        }
        self.conv_out.forward(&self.norm.forward(&x).silu(), call)
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::Epsilon
    }

    /// The stages: down, middle, up.
    fn feature_widths(&self) -> Vec<i64> {
        let down = &self.config.block_out_channels;
        let middle = down.last().copied();
        let up = down.iter().rev().copied();
        down.iter().copied().chain(middle).chain(up).collect()
    }
}
