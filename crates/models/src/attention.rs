//! Multi-head attention.

use dmdr_tensor::{Init, OutputLora, Scope, Tensor, has_tangent};

use crate::{
    Call,
    layers::{Linear, RmsNorm},
};

/// Self-attention over `x`, optionally over extra context tokens as well (keys and values only).
#[derive(Debug)]
pub(crate) struct Attention {
    qkv: Linear,
    behind: Vec<OutputLora>,
    context_kv: Option<Linear>,
    norm: Option<QkNorm>,
    proj: Linear,
    heads: i64,
}

/// RMS normalisation of queries and keys per head: keeps small models stable at high learning rates.
#[derive(Debug)]
pub(crate) struct QkNorm {
    q: RmsNorm,
    k: RmsNorm,
}

impl QkNorm {
    /// `names` of the two norms.
    pub(crate) fn new(scope: &Scope<'_>, names: [&str; 2], head_dim: i64, eps: f64) -> Self {
        Self {
            q: RmsNorm::new(&scope.sub(names[0]), head_dim, eps),
            k: RmsNorm::new(&scope.sub(names[1]), head_dim, eps),
        }
    }

    /// `q, k [.., head_dim]` -> same shapes.
    pub(crate) fn forward(&self, q: &Tensor, k: &Tensor) -> (Tensor, Tensor) {
        (self.q.forward(q), self.k.forward(k))
    }
}

/// Separate projections to queries, keys and values, with query-key normalisation where a model has it.
#[derive(Debug)]
pub(crate) struct Projections {
    qkv: [Linear; 3],
    norm: Option<QkNorm>,
    heads: i64,
}

impl Projections {
    pub(crate) fn new(qkv: [Linear; 3], norm: Option<QkNorm>, heads: i64) -> Self {
        Self { qkv, norm, heads }
    }

    /// `x [B, N, D]` -> queries, keys, values, each `[B, N, H, d]`.
    pub(crate) fn forward(&self, x: &Tensor, call: &Call<'_>) -> [Tensor; 3] {
        let project = |linear: &Linear| linear.forward(x, call).unflatten(2, [self.heads, -1]);
        let [q, k, v] = self.qkv.each_ref().map(project);
        match &self.norm {
            Some(norm) => {
                let (q, k) = norm.forward(&q, &k);
                [q, k, v]
            }
            None => [q, k, v],
        }
    }
}

/// What lies along dimension 2, apart: backwards one tensor is made of all.
fn unbound<const N: usize>(x: &Tensor) -> [Tensor; N] {
    let parts = x.unbind(2);
    parts.try_into().expect("as many as there are projections")
}

/// Attention of queries over keys and values, each `[B, N, H, d]`; result `[B, N, H d]`. A mask `[B, 1, 1, N]` is true
/// where a key is seen.
pub(crate) fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    causal: bool,
) -> Tensor {
    let [q, k, v] = [q, k, v].map(|x| x.transpose(1, 2));
    let out = if [&q, &k, &v].into_iter().any(has_tangent) {
        attend_by_formula(&q, &k, &v, mask, causal)
    } else {
        Tensor::scaled_dot_product_attention(&q, &k, &v, mask, 0.0, causal, None, false)
    };
    out.transpose(1, 2).flatten(2, 3)
}

/// Attention by products that hold its weights `[B, N, N]`, head by head: for derivatives that fused kernels do not have.
fn attend_by_formula(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    mask: Option<&Tensor>,
    causal: bool,
) -> Tensor {
    let added = mask.map(|seen| {
        let zeros = seen.zeros_like().to_kind(q.kind());
        zeros.masked_fill(&seen.logical_not(), f64::NEG_INFINITY)
    });
    let of_head = |head: i64| {
        let [q, k, v] = [q, k, v].map(|x| x.narrow(1, head, 1));
        let mask = added.as_ref();
        let (out, _weights) = Tensor::internal_scaled_dot_product_attention_math(
            &q, &k, &v, mask, 0.0, causal, None, None, false,
        );
        out
    };
    let heads: Vec<Tensor> = (0..q.size()[1]).map(of_head).collect();
    Tensor::cat(&heads, 1)
}

impl Attention {
    /// Plain self-attention.
    pub(crate) fn new(scope: &Scope<'_>, dim: i64, heads: i64) -> Self {
        Self {
            qkv: Linear::new(&scope.sub("qkv"), dim, 3 * dim, Init::XavierUniform),
            behind: scope.output_loras(dim),
            context_kv: None,
            norm: None,
            proj: Linear::new(&scope.sub("proj"), dim, dim, Init::XavierUniform),
            heads,
        }
    }

    /// Attention of image tokens over image and context tokens together, with query-key normalisation.
    pub(crate) fn joint(scope: &Scope<'_>, dim: i64, heads: i64, context_dim: i64) -> Self {
        let context = Linear::new(
            &scope.sub("context_kv"),
            context_dim,
            2 * dim,
            Init::XavierUniform,
        );
        Self {
            context_kv: Some(context),
            norm: Some(QkNorm::new(scope, ["norm_q", "norm_k"], dim / heads, 1e-6)),
            ..Self::new(scope, dim, heads)
        }
    }

    /// `x [B, N, D]`, `context [B, L, Dc]` -> `[B, N, D]`.
    pub(crate) fn forward(
        &self,
        x: &Tensor,
        context: Option<&Tensor>,
        causal: bool,
        call: &Call<'_>,
    ) -> Tensor {
        let (b, n, d) = x.size3().expect("tokens are [B, N, D]");
        let head_dim = d / self.heads;
        let qkv = self
            .adapted(self.qkv.forward(x, call), call)
            .reshape([b, n, 3, self.heads, head_dim]);
        let [q, mut k, mut v] = unbound(&qkv); // [B, N, H, d]
        if let (Some(linear), Some(context)) = (&self.context_kv, context) {
            let kv = linear
                .forward(context, call)
                .reshape([b, -1, 2, self.heads, head_dim]);
            let [more_k, more_v] = unbound(&kv);
            k = Tensor::cat(&[k, more_k], 1); // image tokens first, as in MMDiT
            v = Tensor::cat(&[v, more_v], 1);
        }
        let (q, k) = match &self.norm {
            Some(norm) => norm.forward(&q, &k),
            None => (q, k),
        };
        self.proj.forward(&attend(&q, &k, &v, None, causal), call)
    }

    /// `qkv [B, N, 3 D]` with what the adapters behind queries and values add.
    fn adapted(&self, qkv: Tensor, call: &Call<'_>) -> Tensor {
        let active: Vec<(&OutputLora, f64)> = self
            .behind
            .iter()
            .filter_map(|lora| Some((lora, call.scale(lora.adapter)? * lora.scaling)))
            .collect();
        if active.is_empty() {
            return qkv;
        }
        let parts = qkv.chunk(3, -1);
        let product = |x: &Tensor, [a, b]: &[Tensor; 2]| {
            let cast = |factor: &Tensor| factor.to_kind(x.kind());
            x.matmul(&cast(a)).matmul(&cast(b))
        };
        let (mut q, mut v) = (parts[0].shallow_clone(), parts[2].shallow_clone());
        for (lora, scale) in active {
            // Not in place: they are views of one product.
            q = &q + product(&parts[0], &lora.q) * scale;
            v = &v + product(&parts[2], &lora.v) * scale;
        }
        Tensor::cat(&[&q, &parts[1], &v], -1)
    }
}
