//! The block of plain vision transformers under timm's names: DINOv2 and BLIP.

use dmdr_tensor::{Init, Scope, Tensor};

use crate::{
    Call,
    attention::Attention,
    layers::{LayerNorm, Linear},
};

/// Pre-norm attention and MLP with exact GELU.
#[derive(Debug)]
pub(super) struct VitBlock {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    /// What attention and MLP are multiplied by, channel by channel (LayerScale).
    scales: Option<[Tensor; 2]>,
}

impl VitBlock {
    /// The MLP is four times as wide as `dim`.
    pub(super) fn new(scope: &Scope<'_>, dim: i64, heads: i64) -> Self {
        let linear =
            |name: &str, input, output| Linear::new(&scope.sub(name), input, output, Init::Zeros);
        Self {
            norm1: LayerNorm::affine(&scope.sub("norm1"), dim),
            attn: Attention::new(&scope.sub("attn"), dim, heads),
            norm2: LayerNorm::affine(&scope.sub("norm2"), dim),
            fc1: linear("mlp.fc1", dim, 4 * dim),
            fc2: linear("mlp.fc2", 4 * dim, dim),
            scales: None,
        }
    }

    /// [`Self::new`] with LayerScale.
    pub(super) fn scaled(scope: &Scope<'_>, dim: i64, heads: i64) -> Self {
        let scale = |name: &str| scope.sub(name).param("gamma", &[dim], Init::Ones);
        Self {
            scales: Some(["ls1", "ls2"].map(scale)),
            ..Self::new(scope, dim, heads)
        }
    }

    /// `x [B, N, D]`, f32 -> same shape.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        let call = Call::default();
        let scaled = |x: Tensor, index: usize| match &self.scales {
            Some(scales) => x * &scales[index],
            None => x,
        };
        let attended = self
            .attn
            .forward(&self.norm1.forward(x), None, false, &call);
        let x = x + scaled(attended, 0);
        let hidden = self
            .fc1
            .forward(&self.norm2.forward(&x), &call)
            .gelu("none");
        &x + scaled(self.fc2.forward(&hidden, &call), 1)
    }
}
