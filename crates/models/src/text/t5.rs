//! T5 v1.1's encoder (arXiv 1910.10683): T5-XXL, which conditions image models.
//!
//! Parameters carry the names of transformers' `T5EncoderModel` (5.23.0, `models/t5/modeling_t5.py`). Deviations: the
//! residual stream stays f32 whatever the compute kind (in f16 it overflows); no padding mask, as those pipelines give none.

use dmdr_tensor::{Device, Init, ParamStore, Scope, Tensor};
use serde::Deserialize;

use super::{Transformers, embed::embed};
use crate::{
    Call, ModelError,
    attention::Projections,
    diffusers::check_range,
    layers::{Linear, RmsNorm},
};

/// Sizes; fields of transformers' `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct T5Config {
    /// Rows of the token table.
    pub vocab_size: i64,
    /// Width.
    pub d_model: i64,
    /// Width of a head.
    pub d_kv: i64,
    /// Hidden width of the MLPs.
    pub d_ff: i64,
    /// Blocks.
    pub num_layers: i64,
    /// Attention heads.
    pub num_heads: i64,
    /// Distances between tokens that attention tells apart.
    pub relative_attention_num_buckets: i64,
    /// Tokens farther apart than this are all alike.
    pub relative_attention_max_distance: i64,
    /// Eps of the RMS norms.
    pub layer_norm_epsilon: f64,
    /// Form of the MLPs; `gated-gelu` only, T5 v1.1's.
    pub feed_forward_proj: String,
}

impl T5Config {
    /// The encoder of T5-XXL v1.1: 4.8 billion parameters.
    pub fn xxl() -> Self {
        Self {
            vocab_size: 32_128,
            d_model: 4096,
            d_kv: 64,
            d_ff: 10_240,
            num_layers: 24,
            num_heads: 64,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "gated-gelu".to_owned(),
        }
    }

    fn check(&self) -> Result<(), ModelError> {
        let check = |most, sizes: &[_]| check_range("T5", most, sizes);
        check(1 << 10, &[("num_layers", self.num_layers)])?;
        check(
            1 << 16,
            &[
                ("d_model", self.d_model),
                ("d_kv", self.d_kv),
                ("d_ff", self.d_ff),
                ("num_heads", self.num_heads),
                (
                    "relative_attention_num_buckets",
                    self.relative_attention_num_buckets,
                ),
            ],
        )?;
        check(1 << 24, &[("vocab_size", self.vocab_size)])?;
        let (buckets, distance) = (
            self.relative_attention_num_buckets,
            self.relative_attention_max_distance,
        );
        let reason = if self.feed_forward_proj != "gated-gelu" {
            let found = &self.feed_forward_proj;
            format!("feed_forward_proj is `{found}`, but only `gated-gelu` is supported")
        } else if buckets < 4 || buckets % 4 != 0 || distance <= buckets / 4 {
            format!(
                "relative_attention_num_buckets {buckets} is no multiple of 4, \
                 or relative_attention_max_distance {distance} is not above a quarter of it"
            )
        } else {
            return Ok(());
        };
        Err(ModelError::Sizes {
            network: "T5",
            reason,
        })
    }

    /// Where among the learned biases the distance `offset` = key - query stands: each side has half of them, of which
    /// half are exact and half logarithmic. In f32 as upstream, or offsets on the edge of a bucket would fall elsewhere.
    fn bucket(&self, offset: i64) -> i64 {
        let side = self.relative_attention_num_buckets / 2;
        let exact = side / 2;
        let distance = offset.abs();
        let in_side = if distance < exact {
            distance
        } else {
            let range = (self.relative_attention_max_distance as f64 / exact as f64).ln() as f32;
            let share = (distance as f32 / exact as f32).ln() / range;
            (exact + (share * (side - exact) as f32) as i64).min(side - 1)
        };
        in_side + if offset > 0 { side } else { 0 }
    }

    /// [`Self::bucket`] of each query and key, `[L, L]`.
    fn buckets(&self, length: i64, device: Device) -> Tensor {
        let offsets = (0..length).flat_map(|query| (0..length).map(move |key| key - query));
        let buckets: Vec<i64> = offsets.map(|offset| self.bucket(offset)).collect();
        Tensor::from_slice(&buckets)
            .reshape([length, length])
            .to_device(device)
    }
}

/// The network.
#[derive(Debug)]
pub struct T5Encoder {
    config: T5Config,
    shared: Tensor,
    /// `[buckets, heads]`; kept in the first block, used by all.
    relative_bias: Tensor,
    blocks: Vec<Block>,
    norm: RmsNorm,
}

impl Transformers for T5Encoder {
    /// The encoder may be taken from the whole model.
    const ARCHITECTURES: &'static [&'static str] =
        &["T5EncoderModel", "T5ForConditionalGeneration", "T5Model"];
    const DEFAULTS: &'static str = r#"{
        "vocab_size": 32128, "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8,
        "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128,
        "layer_norm_epsilon": 1e-06, "feed_forward_proj": "relu"
    }"#;
    type Config = T5Config;

    fn new(store: &ParamStore, config: T5Config) -> Result<Self, ModelError> {
        config.check()?;
        let root = Scope::root(store, &[]);
        let encoder = root.sub("encoder");
        Ok(Self {
            shared: root.sub("shared").param(
                "weight",
                &[config.vocab_size, config.d_model],
                Init::Zeros,
            ),
            relative_bias: encoder
                .sub("block.0.layer.0.SelfAttention.relative_attention_bias")
                .param(
                    "weight",
                    &[config.relative_attention_num_buckets, config.num_heads],
                    Init::Zeros,
                ),
            blocks: (0..config.num_layers)
                .map(|index| Block::new(&encoder.sub("block").sub(index).sub("layer"), &config))
                .collect(),
            norm: RmsNorm::new(
                &encoder.sub("final_layer_norm"),
                config.d_model,
                config.layer_norm_epsilon,
            ),
            config,
        })
    }

    /// `encoder.embed_tokens` is a second name of `shared`; the whole model has a decoder and a head as well.
    fn rename(stored: &str) -> Option<String> {
        let is_unused = stored == "encoder.embed_tokens.weight"
            || stored == "lm_head.weight"
            || stored.starts_with("decoder.");
        (!is_unused).then(|| stored.to_owned())
    }
}

impl T5Encoder {
    /// Sizes.
    pub fn config(&self) -> &T5Config {
        &self.config
    }

    /// Features `[B, L, D]`, normalised, of `ids [B, L]` (i64, on any device).
    pub fn forward(&self, ids: &Tensor) -> Tensor {
        let mut x = embed(&self.shared, ids);
        let buckets = self.config.buckets(ids.size()[1], x.device());
        let bias = embed(&self.relative_bias, &buckets)
            .permute([2, 0, 1])
            .unsqueeze(0); // [1, H, L, L]
        for block in &self.blocks {
            x = block.forward(&x, &bias);
        }
        self.norm.forward(&x)
    }
}

/// Pre-norm block: attention with biases, and a gated MLP.
#[derive(Debug)]
struct Block {
    norm1: RmsNorm,
    projections: Projections,
    out: Linear,
    norm2: RmsNorm,
    gate: Linear,
    value: Linear,
    down: Linear,
}

impl Block {
    fn new(scope: &Scope<'_>, config: &T5Config) -> Self {
        let (dim, hidden) = (config.d_model, config.d_ff);
        let inner = config.num_heads * config.d_kv;
        let attention = scope.sub("0");
        let mlp = scope.sub("1");
        let linear = |place: &Scope<'_>, name: &str, input, output| {
            Linear::without_bias(&place.sub(name), input, output, Init::Zeros)
        };
        let norm = |place: &Scope<'_>| {
            RmsNorm::new(&place.sub("layer_norm"), dim, config.layer_norm_epsilon)
        };
        let qkv = ["SelfAttention.q", "SelfAttention.k", "SelfAttention.v"];
        Self {
            norm1: norm(&attention),
            projections: Projections::new(
                qkv.map(|name| linear(&attention, name, dim, inner)),
                None,
                config.num_heads,
            ),
            out: linear(&attention, "SelfAttention.o", inner, dim),
            norm2: norm(&mlp),
            gate: linear(&mlp, "DenseReluDense.wi_0", dim, hidden),
            value: linear(&mlp, "DenseReluDense.wi_1", dim, hidden),
            down: linear(&mlp, "DenseReluDense.wo", hidden, dim),
        }
    }

    /// `x [B, L, D]`, `bias [1, H, L, L]` -> `[B, L, D]`.
    fn forward(&self, x: &Tensor, bias: &Tensor) -> Tensor {
        let call = Call::default();
        let qkv = self.projections.forward(&self.norm1.forward(x), &call);
        let [q, k, v] = qkv.each_ref().map(|tensor| tensor.transpose(1, 2));
        let bias = bias.to_kind(q.kind());
        // Unlike everywhere else, products are not divided by the root of a head's width.
        let attended =
            Tensor::scaled_dot_product_attention(&q, &k, &v, Some(&bias), 0.0, false, 1.0, false);
        let attended = attended.transpose(1, 2).flatten(2, 3);
        let x = x + self.out.forward(&attended, &call);
        let y = self.norm2.forward(&x);
        let gate = self.gate.forward(&y, &call).gelu("tanh");
        x + self
            .down
            .forward(&(gate * self.value.forward(&y, &call)), &call)
    }
}
