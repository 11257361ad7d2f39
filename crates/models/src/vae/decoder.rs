//! Latent to image.

use std::rc::Rc;

use dmdr_tensor::{Scope, Tensor, recompute};

use super::{AutoencoderKlConfig, mid::MidBlock};
use crate::{
    Call,
    conv::{Conv2d, GroupNorm, Resnet, Upsample},
};

/// The `post_quant_conv` and diffusers' `Decoder` behind it, in pieces whose activations are computed again on the way back.
#[derive(Debug)]
pub(super) struct Decoder {
    entry: Rc<Entry>,
    stages: Vec<Rc<Stage>>,
    exit: Rc<Exit>,
}

#[derive(Debug)]
struct Entry {
    post_quant_conv: Option<Conv2d>,
    conv_in: Conv2d,
    mid: MidBlock,
}

#[derive(Debug)]
struct Stage {
    resnets: Vec<Resnet>,
    upsample: Option<Upsample>,
}

#[derive(Debug)]
struct Exit {
    norm: GroupNorm,
    conv_out: Conv2d,
}

impl Decoder {
    pub(super) fn new(root: &Scope<'_>, config: &AutoencoderKlConfig) -> Self {
        let scope = root.sub("decoder");
        let mut channels = config.block_out_channels.clone();
        channels.reverse();
        let (latent, norm) = (config.latent_channels, config.norm());
        let last = channels.len() - 1;
        let stage = |index: usize| {
            let scope = scope.sub("up_blocks").sub(index);
            let (before, width) = (channels[index.saturating_sub(1)], channels[index]);
            let resnet = |layer: i64| {
                let fan_in = if layer == 0 { before } else { width };
                let scope = scope.sub("resnets").sub(layer);
                Resnet::new(&scope, [fan_in, width], None, norm)
            };
            Stage {
                resnets: (0..=config.layers_per_block).map(resnet).collect(),
                upsample: (index < last).then(|| Upsample::new(&scope.sub("upsamplers.0"), width)),
            }
        };
        let out = [channels[last], config.out_channels];
        let entry = Entry {
            post_quant_conv: config
                .use_post_quant_conv
                .then(|| Conv2d::precise(&root.sub("post_quant_conv"), [latent; 2], 1)),
            conv_in: Conv2d::precise(&scope.sub("conv_in"), [latent, channels[0]], 3),
            mid: MidBlock::new(&scope.sub("mid_block"), channels[0], config),
        };
        let exit = Exit {
            norm: GroupNorm::new(&scope.sub("conv_norm_out"), channels[last], norm),
            conv_out: Conv2d::precise(&scope.sub("conv_out"), out, 3),
        };
        Self {
            entry: Rc::new(entry),
            stages: (0..=last).map(|index| Rc::new(stage(index))).collect(),
            exit: Rc::new(exit),
        }
    }

    /// Unscaled latents `z [B, C, h, w]` -> `[B, 3, f h, f w]`, in `[-1, 1]` where the latent is an image's. Of the way there
    /// only what each piece starts from is kept for the gradient.
    pub(super) fn forward(&self, z: &Tensor) -> Tensor {
        let entry = Rc::clone(&self.entry);
        let mut x = recompute(&[z], move |z| entry.forward(&z[0]));
        for stage in &self.stages {
            let stage = Rc::clone(stage);
            x = recompute(&[&x], move |x| stage.forward(&x[0]));
        }
        let exit = Rc::clone(&self.exit);
        recompute(&[&x], move |x| exit.forward(&x[0]))
    }
}

impl Entry {
    fn forward(&self, z: &Tensor) -> Tensor {
        let call = Call::default();
        let x = match &self.post_quant_conv {
            Some(conv) => self.conv_in.forward(&conv.forward(z, &call), &call),
            None => self.conv_in.forward(z, &call),
        };
        self.mid.forward(&x, &call)
    }
}

impl Exit {
    fn forward(&self, x: &Tensor) -> Tensor {
        let x = self.norm.forward(x).silu();
        self.conv_out.forward(&x, &Call::default())
    }
}

impl Stage {
    fn forward(&self, x: &Tensor) -> Tensor {
        let call = Call::default();
        let mut x = x.shallow_clone();
        for resnet in &self.resnets {
            x = resnet.forward(&x, None, &call);
        }
        match &self.upsample {
            Some(upsample) => {
                let (_, _, height, width) = x.size4().expect("feature maps are [B, C, H, W]");
                upsample.forward(&x, [2 * height, 2 * width], &call)
            }
            None => x,
        }
    }
}
