//! Qwen3 (arXiv 2505.09388) as a text encoder of image models.
//!
//! Parameters carry the names of transformers' `Qwen3ForCausalLM` (5.23.0, `models/qwen3/modeling_qwen3.py`), whose head
//! is not built. Deviations: the residual stream stays f32 whatever the compute kind; no padding mask, as padding stands
//! behind a prompt, where a causal mask hides it from every token of the prompt.

use dmdr_tensor::{Device, Init, Kind, ParamStore, Scope, Tensor};
use serde::Deserialize;

use super::{Transformers, embed::embed};
use crate::{
    Call, ModelError,
    attention::{QkNorm, attend},
    diffusers::check_range,
    layers::{Linear, RmsNorm},
};

/// Sizes; fields of transformers' `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Qwen3Config {
    /// Rows of the token table.
    pub vocab_size: i64,
    /// Width.
    pub hidden_size: i64,
    /// Hidden width of the MLPs.
    pub intermediate_size: i64,
    /// Blocks.
    pub num_hidden_layers: i64,
    /// Heads of queries.
    pub num_attention_heads: i64,
    /// Heads of keys and values, each for a group of the queries'.
    pub num_key_value_heads: i64,
    /// Width of a head.
    pub head_dim: i64,
    /// Between the layers of the MLPs; `silu` only.
    pub hidden_act: String,
    /// Eps of the RMS norms.
    pub rms_norm_eps: f64,
    /// Whether projections have a bias; they have none.
    #[serde(default)]
    pub attention_bias: bool,
    /// Whether attention is local; it is not.
    #[serde(default)]
    pub use_sliding_window: bool,
    /// Attention of each layer, as newer versions write it; `full_attention` only.
    #[serde(default)]
    pub layer_types: Option<Vec<String>>,
    /// Base of the rotary frequencies, as transformers 4 writes it.
    #[serde(default)]
    pub rope_theta: Option<f64>,
    /// Base of the rotary frequencies, as transformers 5 writes it.
    #[serde(default)]
    pub rope_parameters: Option<RopeParameters>,
    /// Stretched frequencies, as transformers 4 writes them; none only.
    #[serde(default)]
    pub rope_scaling: Option<serde_json::Value>,
}

/// Rotary frequencies, as transformers 5 writes them.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct RopeParameters {
    /// Their base.
    pub rope_theta: f64,
    /// `default` only.
    pub rope_type: String,
}

impl Qwen3Config {
    /// Qwen3-4B: 4.0 billion parameters.
    pub fn qwen3_4b() -> Self {
        Self {
            vocab_size: 151_936,
            hidden_size: 2560,
            intermediate_size: 9728,
            num_hidden_layers: 36,
            num_attention_heads: 32,
            num_key_value_heads: 8,
            head_dim: 128,
            hidden_act: "silu".to_owned(),
            rms_norm_eps: 1e-6,
            attention_bias: false,
            use_sliding_window: false,
            layer_types: None,
            rope_theta: Some(1e6),
            rope_parameters: None,
            rope_scaling: None,
        }
    }

    /// Base of the rotary frequencies.
    ///
    /// # Errors
    /// Sizes that contradict each other, or a form of the network that is not built.
    fn check(&self) -> Result<f64, ModelError> {
        let check = |most, sizes: &[_]| check_range("Qwen3", most, sizes);
        check(1 << 10, &[("num_hidden_layers", self.num_hidden_layers)])?;
        check(
            1 << 16,
            &[
                ("hidden_size", self.hidden_size),
                ("intermediate_size", self.intermediate_size),
                ("num_attention_heads", self.num_attention_heads),
                ("num_key_value_heads", self.num_key_value_heads),
                ("head_dim", self.head_dim),
            ],
        )?;
        check(1 << 24, &[("vocab_size", self.vocab_size)])?;
        let (heads, groups) = (self.num_attention_heads, self.num_key_value_heads);
        let is_plain = |rope: &RopeParameters| rope.rope_type == "default";
        let theta = match &self.rope_parameters {
            Some(rope) => Some(rope.rope_theta),
            None => self.rope_theta,
        };
        let reason = if heads % groups != 0 {
            format!("num_attention_heads {heads} is no multiple of num_key_value_heads {groups}")
        } else if self.head_dim % 2 != 0 {
            format!("head_dim is {}, but channels turn in pairs", self.head_dim)
        } else if self.hidden_act != "silu" {
            format!(
                "hidden_act is `{}`, but only `silu` is supported",
                self.hidden_act
            )
        } else if self.attention_bias || self.use_sliding_window {
            "attention_bias or use_sliding_window is set, which is not supported".to_owned()
        } else if let Some(kind) = self
            .layer_types
            .iter()
            .flatten()
            .find(|kind| *kind != "full_attention")
        {
            format!("layer_types has `{kind}`, but only `full_attention` is supported")
        } else if self.rope_scaling.is_some() || !self.rope_parameters.iter().all(is_plain) {
            "rotary frequencies are scaled, which is not supported".to_owned()
        } else if let Some(theta) = theta {
            return Ok(theta);
        } else {
            "rope_theta is missing".to_owned()
        };
        Err(ModelError::Sizes {
            network: "Qwen3",
            reason,
        })
    }
}

/// The network.
#[derive(Debug)]
pub struct Qwen3 {
    config: Qwen3Config,
    theta: f64,
    embedding: Tensor,
    blocks: Vec<Block>,
}

impl Transformers for Qwen3 {
    const ARCHITECTURES: &'static [&'static str] = &["Qwen3ForCausalLM", "Qwen3Model"];
    const DEFAULTS: &'static str = r#"{
        "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "head_dim": 128, "hidden_act": "silu",
        "rms_norm_eps": 1e-06, "attention_bias": false, "use_sliding_window": false
    }"#;
    type Config = Qwen3Config;

    fn new(store: &ParamStore, config: Qwen3Config) -> Result<Self, ModelError> {
        let theta = config.check()?;
        let root = Scope::root(store, &[]);
        let model = root.sub("model");
        let dim = config.hidden_size;
        // Loaded, so that loading is strict, but not used: features are taken before the last block.
        RmsNorm::new(&model.sub("norm"), dim, config.rms_norm_eps);
        Ok(Self {
            theta,
            embedding: model.sub("embed_tokens").param(
                "weight",
                &[config.vocab_size, dim],
                Init::Zeros,
            ),
            blocks: (0..config.num_hidden_layers)
                .map(|index| Block::new(&model.sub("layers").sub(index), &config))
                .collect(),
            config,
        })
    }

    /// The head is not built; where it is tied, it is a second name of the token table. `Qwen3Model`, which diffusers'
    /// pipelines save, has no `model.` in front.
    fn rename(stored: &str) -> Option<String> {
        if stored == "lm_head.weight" {
            return None;
        }
        let name = stored.strip_prefix("model.").unwrap_or(stored);
        Some(format!("model.{name}"))
    }
}

impl Qwen3 {
    /// Sizes.
    pub fn config(&self) -> &Qwen3Config {
        &self.config
    }

    /// Features `[B, L, D]` before the last block (transformers' `hidden_states[-2]`), not normalised, of `ids [B, L]`
    /// (i64, on any device), padded behind if at all. Features of padding mean nothing.
    pub fn penultimate(&self, ids: &Tensor) -> Tensor {
        let mut x = embed(&self.embedding, ids);
        let rotation = Rotation::new(ids.size()[1], self.config.head_dim, self.theta, x.device());
        let (_, blocks) = self.blocks.split_last().expect("checked");
        for block in blocks {
            x = block.forward(&x, &rotation);
        }
        x
    }
}

/// What turns queries and keys of each token: `cos, sin [L, 1, d / 2]`, f32.
#[derive(Debug)]
struct Rotation {
    cos: Tensor,
    sin: Tensor,
}

impl Rotation {
    fn new(length: i64, head_dim: i64, theta: f64, device: Device) -> Self {
        let half = head_dim / 2;
        let frequencies: Vec<f64> = (0..half)
            .map(|k| theta.powf(-(k as f64) / half as f64))
            .collect();
        let place = Tensor::arange(length, (Kind::Double, device)).reshape([-1, 1, 1]);
        let angles = place * Tensor::from_slice(&frequencies).to_device(device);
        Self {
            cos: angles.cos().to_kind(Kind::Float),
            sin: angles.sin().to_kind(Kind::Float),
        }
    }

    /// Turns channel `k` of `x [B, L, H, d]` with channel `k + d / 2`; computed in f32, returned in the kind of `x`.
    fn turn(&self, x: &Tensor) -> Tensor {
        let halves = x.to_kind(Kind::Float).chunk(2, 3);
        let (a, b) = (&halves[0], &halves[1]);
        let turned = [a * &self.cos - b * &self.sin, b * &self.cos + a * &self.sin];
        Tensor::cat(&turned, 3).to_kind(x.kind())
    }
}

/// Pre-norm block under a causal mask: grouped-query attention and SwiGLU.
#[derive(Debug)]
struct Block {
    norm1: RmsNorm,
    q: Linear,
    k: Linear,
    v: Linear,
    qk_norm: QkNorm,
    out: Linear,
    norm2: RmsNorm,
    gate: Linear,
    up: Linear,
    down: Linear,
    heads: i64,
    head_dim: i64,
}

impl Block {
    fn new(scope: &Scope<'_>, config: &Qwen3Config) -> Self {
        let (dim, hidden, eps) = (
            config.hidden_size,
            config.intermediate_size,
            config.rms_norm_eps,
        );
        let inner = config.num_attention_heads * config.head_dim;
        let shared = config.num_key_value_heads * config.head_dim;
        let attention = scope.sub("self_attn");
        let mlp = scope.sub("mlp");
        let linear = |place: &Scope<'_>, name: &str, input, output| {
            Linear::without_bias(&place.sub(name), input, output, Init::Zeros)
        };
        Self {
            norm1: RmsNorm::new(&scope.sub("input_layernorm"), dim, eps),
            q: linear(&attention, "q_proj", dim, inner),
            k: linear(&attention, "k_proj", dim, shared),
            v: linear(&attention, "v_proj", dim, shared),
            qk_norm: QkNorm::new(&attention, ["q_norm", "k_norm"], config.head_dim, eps),
            out: linear(&attention, "o_proj", inner, dim),
            norm2: RmsNorm::new(&scope.sub("post_attention_layernorm"), dim, eps),
            gate: linear(&mlp, "gate_proj", dim, hidden),
            up: linear(&mlp, "up_proj", dim, hidden),
            down: linear(&mlp, "down_proj", hidden, dim),
            heads: config.num_attention_heads,
            head_dim: config.head_dim,
        }
    }

    /// `x [B, L, D]` -> same shape.
    fn forward(&self, x: &Tensor, rotation: &Rotation) -> Tensor {
        let call = Call::default();
        let y = self.norm1.forward(x);
        let project = |linear: &Linear| linear.forward(&y, &call).unflatten(2, [-1, self.head_dim]);
        let (q, k) = self.qk_norm.forward(&project(&self.q), &project(&self.k));
        let shared = |kv: Tensor| {
            let group = self.heads / kv.size()[2];
            kv.repeat_interleave_self_int(group, 2, None)
        };
        let attended = attend(
            &rotation.turn(&q),
            &shared(rotation.turn(&k)),
            &shared(project(&self.v)),
            None,
            true,
        );
        let x = x + self.out.forward(&attended, &call);
        let y = self.norm2.forward(&x);
        let hidden = self.gate.forward(&y, &call).silu() * self.up.forward(&y, &call);
        x + self.down.forward(&hidden, &call)
    }
}
