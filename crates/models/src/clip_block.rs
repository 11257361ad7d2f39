//! The block of both of CLIP's towers (arXiv 2103.00020), under the names of transformers' `CLIPEncoderLayer`.

use dmdr_tensor::{Init, Scope, Tensor};
use serde::Deserialize;

use crate::{
    Call,
    attention::{Projections, attend},
    layers::{LayerNorm, Linear},
};

/// Between the layers of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipActivation {
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    /// `x Phi(x)`.
    Gelu,
}

impl ClipActivation {
    /// As in a `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::QuickGelu => "quick_gelu",
            Self::Gelu => "gelu",
        }
    }

    fn forward(self, x: &Tensor) -> Tensor {
        match self {
            Self::QuickGelu => x * (x * 1.702).sigmoid(),
            Self::Gelu => x.gelu("none"),
        }
    }
}

/// Sizes of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClipBlockConfig {
    /// Width.
    pub(crate) dim: i64,
    /// Hidden width of the MLP.
    pub(crate) hidden: i64,
    /// Attention heads.
    pub(crate) heads: i64,
    /// In the MLP.
    pub(crate) activation: ClipActivation,
    /// Eps of the layer norms.
    pub(crate) eps: f64,
    /// Whether a token sees only those before it.
    pub(crate) causal: bool,
}

/// Pre-norm attention and MLP.
#[derive(Debug)]
pub(crate) struct ClipBlock {
    norm1: LayerNorm,
    projections: Projections,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    fc2: Linear,
    config: ClipBlockConfig,
}

impl ClipBlock {
    pub(crate) fn new(scope: &Scope<'_>, config: ClipBlockConfig) -> Self {
        let (dim, hidden) = (config.dim, config.hidden);
        let linear =
            |name: &str, input, output| Linear::new(&scope.sub(name), input, output, Init::Zeros);
        let norm = |name: &str| LayerNorm::affine(&scope.sub(name), dim).with_eps(config.eps);
        let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        Self {
            norm1: norm("layer_norm1"),
            projections: Projections::new(
                qkv.map(|name| linear(name, dim, dim)),
                None,
                config.heads,
            ),
            out: linear("self_attn.out_proj", dim, dim),
            norm2: norm("layer_norm2"),
            fc1: linear("mlp.fc1", dim, hidden),
            fc2: linear("mlp.fc2", hidden, dim),
            config,
        }
    }

    /// `x [B, L, D]` -> same shape.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let call = Call::default();
        let [q, k, v] = self.projections.forward(&self.norm1.forward(x), &call);
        let x = x + self
            .out
            .forward(&attend(&q, &k, &v, None, self.config.causal), &call);
        let hidden = self.fc1.forward(&self.norm2.forward(&x), &call);
        let hidden = self.config.activation.forward(&hidden);
        x + self.fc2.forward(&hidden, &call)
    }
}
