//! Attention among pixels and to the text (diffusers' `Transformer2DModel` with linear projections).

use dmdr_tensor::{Init, Kind, Scope, Tensor};

use crate::{
    Call,
    attention::attend,
    blocks::Blocks,
    conv::{GroupNorm, Groups},
    layers::{LayerNorm, Linear},
};

const INIT: Init = Init::XavierUniform;

/// Sizes of a stage's transformers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) dim: i64,
    pub(super) heads: i64,
    pub(super) layers: i64,
    pub(super) context_dim: i64,
    pub(super) groups: i64,
}

/// Adds to each pixel what the blocks make of all of them.
#[derive(Debug)]
pub(super) struct Transformer {
    norm: GroupNorm,
    proj_in: Linear,
    blocks: Blocks<Block>,
    proj_out: Linear,
}

impl Transformer {
    pub(super) fn new(scope: &Scope<'_>, sizes: Sizes) -> Self {
        let square = |name| Linear::new(&scope.sub(name), sizes.dim, sizes.dim, INIT);
        let norm = Groups {
            groups: sizes.groups,
            eps: 1e-6, // not norm_eps
        };
        Self {
            norm: GroupNorm::new(&scope.sub("norm"), sizes.dim, norm),
            proj_in: square("proj_in"),
            blocks: Blocks::new(
                scope,
                (0..sizes.layers)
                    .map(|index| Block::new(&scope.sub("transformer_blocks").sub(index), sizes)),
            ),
            proj_out: square("proj_out"),
        }
    }

    /// `x [B, D, H, W]`, text `context [B, L, D']` -> like `x`.
    pub(super) fn forward(&self, x: &Tensor, context: &Tensor, call: &Call<'_>) -> Tensor {
        let tokens = self.norm.forward(x).flatten(2, 3).transpose(1, 2); // [B, H W, D]
        let tokens = self.proj_in.forward(&tokens, call).to_kind(Kind::Float);
        let tokens = self
            .blocks
            .run(tokens, &[context], call, |block, inputs, call| {
                block.forward(&inputs[0], &inputs[1], call)
            });
        let out = self.proj_out.forward(&tokens, call);
        x + out.transpose(1, 2).reshape(x.size())
    }
}

/// Self-attention, attention to the text, gated MLP; each normalised before and added.
#[derive(Debug)]
struct Block {
    norms: [LayerNorm; 3],
    among_pixels: CrossAttention,
    to_text: CrossAttention,
    mlp_in: Linear,
    mlp_out: Linear,
}

impl Block {
    fn new(scope: &Scope<'_>, sizes: Sizes) -> Self {
        let Sizes {
            dim,
            heads,
            context_dim,
            ..
        } = sizes;
        let norm = |name| LayerNorm::affine(&scope.sub(name), dim).with_eps(1e-5);
        Self {
            norms: ["norm1", "norm2", "norm3"].map(norm),
            among_pixels: CrossAttention::new(&scope.sub("attn1"), dim, heads, dim),
            to_text: CrossAttention::new(&scope.sub("attn2"), dim, heads, context_dim),
            mlp_in: Linear::new(&scope.sub("ff.net.0.proj"), dim, 8 * dim, INIT),
            mlp_out: Linear::new(&scope.sub("ff.net.2"), 4 * dim, dim, INIT),
        }
    }

    fn forward(&self, x: &Tensor, context: &Tensor, call: &Call<'_>) -> Tensor {
        let normed = self.norms[0].forward(x);
        let x = x + self.among_pixels.forward(&normed, &normed, call);
        let normed = self.norms[1].forward(&x);
        let x = &x + self.to_text.forward(&normed, context, call);
        let parts = self
            .mlp_in
            .forward(&self.norms[2].forward(&x), call)
            .chunk(2, -1); // value, then gate
        &x + self
            .mlp_out
            .forward(&(&parts[0] * parts[1].gelu("none")), call)
    }
}

/// Attention of `x` to another sequence.
#[derive(Debug)]
struct CrossAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    out: Linear,
    heads: i64,
}

impl CrossAttention {
    fn new(scope: &Scope<'_>, dim: i64, heads: i64, context_dim: i64) -> Self {
        let project = |name, width| Linear::without_bias(&scope.sub(name), width, dim, INIT);
        Self {
            q: project("to_q", dim),
            k: project("to_k", context_dim),
            v: project("to_v", context_dim),
            out: Linear::new(&scope.sub("to_out.0"), dim, dim, INIT),
            heads,
        }
    }

    /// `x [B, N, D]`, `context [B, L, D']` -> like `x`.
    fn forward(&self, x: &Tensor, context: &Tensor, call: &Call<'_>) -> Tensor {
        let split =
            |linear: &Linear, x: &Tensor| linear.forward(x, call).unflatten(2, [self.heads, -1]);
        let q = split(&self.q, x);
        let (k, v) = (split(&self.k, context), split(&self.v, context));
        self.out.forward(&attend(&q, &k, &v, None, false), call)
    }
}
