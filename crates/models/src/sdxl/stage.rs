//! The stages of the UNet: at one resolution, residual blocks and behind each a transformer.

use std::iter;

use dmdr_tensor::{Scope, Tensor};

use super::{
    SdxlConfig,
    config::{DownBlockType, UpBlockType},
    transformer::{Sizes, Transformer},
};
use crate::{
    Call,
    blocks::Blocks,
    conv::{Downsample, Groups, Resnet, Upsample},
};

/// What every layer reads: the time embedding `[B, T]` after SiLU and the text tokens `[B, L, D]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inputs<'a> {
    pub(super) time: &'a Tensor,
    pub(super) text: &'a Tensor,
}

/// Builds the layers of stage `index`, counted from the highest resolution.
struct Builder<'a> {
    scope: &'a Scope<'a>,
    config: &'a SdxlConfig,
    index: usize,
}

impl Builder<'_> {
    fn resnet(&self, layer: i64, channels: [i64; 2]) -> Blocks<Resnet> {
        let norm = Groups {
            groups: self.config.norm_num_groups,
            eps: self.config.norm_eps,
        };
        let scope = self.scope.sub("resnets").sub(layer);
        let resnet = Resnet::new(&scope, channels, Some(self.config.time_width()), norm);
        Blocks::new(self.scope, iter::once(resnet))
    }

    fn transformer(&self, layer: i64) -> Transformer {
        let sizes = Sizes {
            dim: self.config.block_out_channels[self.index],
            heads: self.config.attention_head_dim[self.index],
            layers: self.config.transformer_layers_per_block[self.index],
            context_dim: self.config.cross_attention_dim,
            groups: self.config.norm_num_groups,
        };
        Transformer::new(&self.scope.sub("attentions").sub(layer), sizes)
    }

    fn layer(&self, layer: i64, channels: [i64; 2], has_transformer: bool) -> Layer {
        Layer {
            resnet: self.resnet(layer, channels),
            transformer: has_transformer.then(|| self.transformer(layer)),
        }
    }
}

/// `resnet`, which is one, on `x [B, C, H, W]`.
fn run(resnet: &Blocks<Resnet>, x: &Tensor, inputs: Inputs<'_>, call: &Call<'_>) -> Tensor {
    resnet.run_one(0, &[x, inputs.time], call, |resnet, inputs, call| {
        resnet.forward(&inputs[0], Some(&inputs[1]), call)
    })
}

#[derive(Debug)]
struct Layer {
    resnet: Blocks<Resnet>,
    transformer: Option<Transformer>,
}

impl Layer {
    fn forward(&self, x: &Tensor, inputs: Inputs<'_>, call: &Call<'_>) -> Tensor {
        let x = run(&self.resnet, x, inputs, call);
        match &self.transformer {
            Some(transformer) => transformer.forward(&x, inputs.text, call),
            None => x,
        }
    }
}

/// A stage on the way down.
#[derive(Debug)]
pub(super) struct DownStage {
    layers: Vec<Layer>,
    downsample: Option<Downsample>,
}

impl DownStage {
    pub(super) fn new(scope: &Scope<'_>, config: &SdxlConfig, index: usize) -> Self {
        let builder = Builder {
            scope,
            config,
            index,
        };
        let channels = &config.block_out_channels;
        let (before, width) = (channels[index.saturating_sub(1)], channels[index]);
        let has_transformer = config.down_block_types[index] == DownBlockType::Attention;
        let layer = |layer: i64| {
            let fan_in = if layer == 0 { before } else { width };
            builder.layer(layer, [fan_in, width], has_transformer)
        };
        Self {
            layers: (0..config.layers_per_block).map(layer).collect(),
            downsample: (index + 1 < channels.len())
                .then(|| Downsample::new(&scope.sub("downsamplers.0"), width)),
        }
    }

    /// `x [B, C, H, W]` -> the last of the maps it pushes on `skips`.
    pub(super) fn forward(
        &self,
        mut x: Tensor,
        skips: &mut Vec<Tensor>,
        inputs: Inputs<'_>,
        call: &Call<'_>,
    ) -> Tensor {
        for layer in &self.layers {
            x = layer.forward(&x, inputs, call);
            skips.push(x.shallow_clone());
        }
        if let Some(downsample) = &self.downsample {
            x = downsample.forward(&x, call);
            skips.push(x.shallow_clone());
        }
        x
    }
}

/// The stage between the ways down and up.
#[derive(Debug)]
pub(super) struct MidStage {
    first: Layer,
    second: Blocks<Resnet>,
}

impl MidStage {
    pub(super) fn new(scope: &Scope<'_>, config: &SdxlConfig) -> Self {
        let index = config.block_out_channels.len() - 1;
        let builder = Builder {
            scope,
            config,
            index,
        };
        let channels = [config.block_out_channels[index]; 2];
        Self {
            first: builder.layer(0, channels, true),
            second: builder.resnet(1, channels),
        }
    }

    /// Like `x [B, C, H, W]`.
    pub(super) fn forward(&self, x: &Tensor, inputs: Inputs<'_>, call: &Call<'_>) -> Tensor {
        let x = self.first.forward(x, inputs, call);
        run(&self.second, &x, inputs, call)
    }
}

/// A stage on the way up.
#[derive(Debug)]
pub(super) struct UpStage {
    layers: Vec<Layer>,
    upsample: Option<Upsample>,
}

impl UpStage {
    /// The `order`-th stage on the way up; `skips` are the channels of the maps left by the way down, of which it takes
    /// the last ones.
    pub(super) fn new(
        scope: &Scope<'_>,
        config: &SdxlConfig,
        order: usize,
        skips: &mut Vec<i64>,
    ) -> Self {
        let channels = &config.block_out_channels;
        let index = channels.len() - 1 - order;
        let builder = Builder {
            scope,
            config,
            index,
        };
        let width = channels[index];
        let before = channels[(index + 1).min(channels.len() - 1)];
        let has_transformer = config.up_block_types[order] == UpBlockType::Attention;
        let layer = |layer: i64| {
            let skip = skips.pop().expect("a map for every layer");
            let hidden = if layer == 0 { before } else { width };
            builder.layer(layer, [hidden + skip, width], has_transformer)
        };
        Self {
            layers: (0..=config.layers_per_block).map(layer).collect(),
            upsample: (index > 0).then(|| Upsample::new(&scope.sub("upsamplers.0"), width)),
        }
    }

    /// Each layer sees the last of `skips` beside its input; the result has the size of the next of them.
    pub(super) fn forward(
        &self,
        mut x: Tensor,
        skips: &mut Vec<Tensor>,
        inputs: Inputs<'_>,
        call: &Call<'_>,
    ) -> Tensor {
        for layer in &self.layers {
            let skip = skips.pop().expect("a map for every layer");
            x = layer.forward(&Tensor::cat(&[x, skip], 1), inputs, call);
        }
        match (&self.upsample, skips.last()) {
            (Some(upsample), Some(next)) => {
                let (_, _, height, width) = next.size4().expect("feature maps are [B, C, H, W]");
                upsample.forward(&x, [height, width], call)
            }
            _ => x,
        }
    }
}
