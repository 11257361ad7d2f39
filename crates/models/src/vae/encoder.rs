//! Image to moments of the latent.

use dmdr_tensor::{Scope, Tensor};

use super::{AutoencoderKlConfig, mid::MidBlock};
use crate::{
    Call,
    conv::{Conv2d, Downsample, GroupNorm, Resnet},
};

/// diffusers' `Encoder` and the `quant_conv` behind it.
#[derive(Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    stages: Vec<Stage>,
    mid: MidBlock,
    norm: GroupNorm,
    conv_out: Conv2d,
    quant_conv: Option<Conv2d>,
}

#[derive(Debug)]
struct Stage {
    resnets: Vec<Resnet>,
    downsample: Option<Downsample>,
}

impl Encoder {
    pub(super) fn new(root: &Scope<'_>, config: &AutoencoderKlConfig) -> Self {
        let scope = root.sub("encoder");
        let (channels, norm) = (&config.block_out_channels, config.norm());
        let moments = 2 * config.latent_channels;
        let last = channels.len() - 1;
        let stage = |index: usize| {
            let scope = scope.sub("down_blocks").sub(index);
            let (before, width) = (channels[index.saturating_sub(1)], channels[index]);
            let resnet = |layer: i64| {
                let fan_in = if layer == 0 { before } else { width };
                let scope = scope.sub("resnets").sub(layer);
                Resnet::new(&scope, [fan_in, width], None, norm)
            };
            Stage {
                resnets: (0..config.layers_per_block).map(resnet).collect(),
                downsample: (index < last)
                    .then(|| Downsample::asymmetric(&scope.sub("downsamplers.0"), width)),
            }
        };
        Self {
            conv_in: Conv2d::precise(&scope.sub("conv_in"), [config.in_channels, channels[0]], 3),
            stages: (0..=last).map(stage).collect(),
            mid: MidBlock::new(&scope.sub("mid_block"), channels[last], config),
            norm: GroupNorm::new(&scope.sub("conv_norm_out"), channels[last], norm),
            conv_out: Conv2d::precise(&scope.sub("conv_out"), [channels[last], moments], 3),
            quant_conv: config
                .use_quant_conv
                .then(|| Conv2d::precise(&root.sub("quant_conv"), [moments; 2], 1)),
        }
    }

    /// `x [B, 3, H, W]` in `[-1, 1]` -> mean, then log-variance, of unscaled latents, `[B, 2 C, H/f, W/f]`.
    pub(super) fn forward(&self, x: &Tensor, call: &Call<'_>) -> Tensor {
        let mut x = self.conv_in.forward(x, call);
        for stage in &self.stages {
            for resnet in &stage.resnets {
                x = resnet.forward(&x, None, call);
            }
            if let Some(downsample) = &stage.downsample {
                x = downsample.forward(&x, call);
            }
        }
        let x = self.norm.forward(&self.mid.forward(&x, call)).silu();
        let moments = self.conv_out.forward(&x, call);
        match &self.quant_conv {
            Some(conv) => conv.forward(&moments, call),
            None => moments,
        }
    }
}
