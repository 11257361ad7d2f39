//! One block of Z-Image: norms before and after attention and MLP, with gates through tanh.

use std::rc::Rc;

use dmdr_tensor::{Init, Scope, Tensor};

use super::{ZImageConfig, rope::Rotation};
use crate::{
    Call,
    attention::{Projections, QkNorm, attend},
    layers::{Linear, RmsNorm, gated},
};

/// RMS norm of queries and keys has an eps of its own in diffusers, equal to the default of `norm_eps`.
const QK_NORM_EPS: f64 = 1e-5;

/// Tokens on their way through the blocks.
#[derive(Debug)]
pub(super) struct Sequence {
    /// `[B, N, D]`.
    pub(super) x: Tensor,
    /// Where they stand.
    pub(super) places: Rc<Places>,
}

/// What attention knows about the places of `N` tokens.
#[derive(Debug)]
pub(super) struct Places {
    /// Of queries and keys.
    pub(super) rotation: Rotation,
    /// `[B, N]`, true where a token is attended; none if all are.
    pub(super) mask: Option<Tensor>,
}

impl Sequence {
    /// Tokens of `self`, which has no mask, then those of `other`.
    pub(super) fn then(&self, other: &Self) -> Self {
        let num = self.x.size()[1];
        let mask = other.places.mask.as_ref().map(|mask| {
            let whole = mask.narrow(1, 0, 1).ones_like().expand([-1, num], false);
            Tensor::cat(&[&whole, mask], 1)
        });
        Self {
            x: Tensor::cat(&[&self.x, &other.x], 1),
            places: Rc::new(Places {
                rotation: self.places.rotation.then(&other.places.rotation),
                mask,
            }),
        }
    }
}

#[derive(Debug)]
struct Attention {
    projections: Projections,
    out: Linear,
}

impl Attention {
    fn new(scope: &Scope<'_>, config: &ZImageConfig) -> Self {
        let (dim, heads) = (config.dim, config.n_heads);
        let linear = |name| Linear::without_bias(&scope.sub(name), dim, dim, Init::XavierUniform);
        let norms = ["norm_q", "norm_k"];
        let norm = config
            .qk_norm
            .then(|| QkNorm::new(scope, norms, dim / heads, QK_NORM_EPS));
        Self {
            projections: Projections::new(["to_q", "to_k", "to_v"].map(linear), norm, heads),
            out: linear("to_out.0"),
        }
    }

    fn forward(&self, x: &Tensor, places: &Places, call: &Call<'_>) -> Tensor {
        let [q, k, v] = self.projections.forward(x, call);
        let (q, k) = (places.rotation.turn(&q), places.rotation.turn(&k));
        let mask = places
            .mask
            .as_ref()
            .map(|mask| mask.unsqueeze(1).unsqueeze(1));
        let attended = attend(&q, &k, &v, mask.as_ref(), false);
        self.out.forward(&attended, call)
    }
}

/// SwiGLU: `w2(silu(w1 x) * w3 x)`.
#[derive(Debug)]
struct FeedForward {
    w1: Linear,
    w2: Linear,
    w3: Linear,
}

impl FeedForward {
    fn new(scope: &Scope<'_>, dim: i64, hidden: i64) -> Self {
        let linear = |name, fan_in, fan_out| {
            Linear::without_bias(&scope.sub(name), fan_in, fan_out, Init::XavierUniform)
        };
        Self {
            w1: linear("w1", dim, hidden),
            w2: linear("w2", hidden, dim),
            w3: linear("w3", dim, hidden),
        }
    }

    fn forward(&self, x: &Tensor, call: &Call<'_>) -> Tensor {
        let gate = self.w1.forward(x, call).silu();
        self.w2.forward(&(gate * self.w3.forward(x, call)), call)
    }
}

/// The block. The caption's refiner has no modulation: it does not know the time.
#[derive(Debug)]
pub(super) struct Block {
    attention: Attention,
    feed_forward: FeedForward,
    /// Before and after the attention, before and after the MLP.
    norms: [RmsNorm; 4],
    modulation: Option<Linear>,
}

impl Block {
    pub(super) fn new(scope: &Scope<'_>, config: &ZImageConfig, is_modulated: bool) -> Self {
        let dim = config.dim;
        let norms = [
            "attention_norm1",
            "attention_norm2",
            "ffn_norm1",
            "ffn_norm2",
        ];
        Self {
            attention: Attention::new(&scope.sub("attention"), config),
            feed_forward: FeedForward::new(&scope.sub("feed_forward"), dim, config.hidden()),
            norms: norms.map(|name| RmsNorm::new(&scope.sub(name), dim, config.norm_eps)),
            modulation: is_modulated.then(|| {
                let scope = scope.sub("adaLN_modulation.0");
                Linear::modulation(&scope, config.time_dim(), 4 * dim)
            }),
        }
    }

    /// `x [B, N, D]` at `places`, `c [B, 256]` the embedded time of a modulated block -> like `x`.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        places: &Places,
        c: Option<&Tensor>,
        call: &Call<'_>,
    ) -> Tensor {
        let [before, after, before_ff, after_ff] = &self.norms;
        let attend = |x: &Tensor| after.forward(&self.attention.forward(x, places, call));
        let mix = |x: &Tensor| after_ff.forward(&self.feed_forward.forward(x, call));
        if let (Some(modulation), Some(c)) = (&self.modulation, c) {
            let m = modulation.forward(c, call).unsqueeze(1).chunk(4, -1); // scale, gate, twice
            let attended = attend(&(before.forward(x) * (&m[0] + 1.0)));
            let x = gated(x, &m[1].tanh(), &attended);
            let mixed = mix(&(before_ff.forward(&x) * (&m[2] + 1.0)));
            gated(&x, &m[3].tanh(), &mixed)
        } else {
            let x = x + attend(&before.forward(x));
            &x + mix(&before_ff.forward(&x))
        }
    }
}
