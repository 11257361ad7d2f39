//! The stage at the lowest resolution (diffusers' `UNetMidBlock2D`): residual block, attention, residual block.

use dmdr_tensor::{Init, Kind, Scope, Tensor};

use super::AutoencoderKlConfig;
use crate::{
    Call,
    attention::{Projections, attend},
    conv::{GroupNorm, Groups, Resnet},
    layers::Linear,
};

#[derive(Debug)]
pub(super) struct MidBlock {
    before: Resnet,
    attention: Option<PixelAttention>,
    after: Resnet,
}

impl MidBlock {
    pub(super) fn new(scope: &Scope<'_>, channels: i64, config: &AutoencoderKlConfig) -> Self {
        let norm = config.norm();
        let resnet =
            |index: i64| Resnet::new(&scope.sub("resnets").sub(index), [channels; 2], None, norm);
        Self {
            before: resnet(0),
            attention: config
                .mid_block_add_attention
                .then(|| PixelAttention::new(&scope.sub("attentions.0"), channels, norm)),
            after: resnet(1),
        }
    }

    /// Like `x [B, C, h, w]`.
    pub(super) fn forward(&self, x: &Tensor, call: &Call<'_>) -> Tensor {
        let x = self.before.forward(x, None, call);
        let x = match &self.attention {
            Some(attention) => attention.forward(&x, call),
            None => x,
        };
        self.after.forward(&x, None, call)
    }
}

/// Attention of one head among all pixels, added to its input.
#[derive(Debug)]
struct PixelAttention {
    norm: GroupNorm,
    projections: Projections,
    out: Linear,
}

impl PixelAttention {
    fn new(scope: &Scope<'_>, channels: i64, norm: Groups) -> Self {
        let square = |name| {
            let scope = scope.sub(name);
            Linear::new(&scope, channels, channels, Init::XavierUniform)
        };
        let qkv = ["to_q", "to_k", "to_v"].map(square);
        Self {
            norm: GroupNorm::new(&scope.sub("group_norm"), channels, norm),
            projections: Projections::new(qkv, None, 1),
            out: square("to_out.0"),
        }
    }

    fn forward(&self, x: &Tensor, call: &Call<'_>) -> Tensor {
        let tokens = self.norm.forward(x).flatten(2, 3).transpose(1, 2); // [B, h w, C]
        let [q, k, v] = self.projections.forward(&tokens, call);
        let out = self.out.forward(&attend(&q, &k, &v, None, false), call);
        x + out.transpose(1, 2).reshape(x.size()).to_kind(Kind::Float)
    }
}
