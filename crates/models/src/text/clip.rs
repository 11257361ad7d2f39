//! CLIP's text tower (arXiv 2103.00020): CLIP-L and OpenCLIP's bigG, which condition SDXL and SD3.
//!
//! Parameters carry the names of transformers' `CLIPTextModelWithProjection` (5.23.0, `models/clip/modeling_clip.py`),
//! and of `CLIPTextModel` with `text_model.` in front, as published; version 5 saves it without. Deviations: the residual
//! stream and the pooled vectors stay f32 whatever the compute kind; no padding mask, as no pipeline gives one.

use dmdr_tensor::{Init, Kind, ParamStore, Scope, Tensor};
use serde::Deserialize;

use super::{Transformers, embed};
use crate::{
    Call, ModelError,
    attention::{Projections, attend},
    layers::{LayerNorm, Linear},
};

/// `eos_token_id` of configs older than transformers 4.31, which is not the id of the end token.
const LEGACY_EOS: i64 = 2;

/// Sizes; fields of transformers' `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClipTextConfig {
    /// The class, of which there is one.
    pub architectures: [ClipArchitecture; 1],
    /// Rows of the token table.
    pub vocab_size: i64,
    /// Width.
    pub hidden_size: i64,
    /// Hidden width of the MLPs.
    pub intermediate_size: i64,
    /// Width of the projected pooled vector, where there is one.
    pub projection_dim: i64,
    /// Blocks.
    pub num_hidden_layers: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Tokens a prompt is padded to.
    pub max_position_embeddings: i64,
    /// Between the layers of the MLPs.
    pub hidden_act: ClipActivation,
    /// Eps of the layer norms.
    pub layer_norm_eps: f64,
    /// The end token, whose feature is pooled; 2 in old configs, where it is the largest id of a prompt instead.
    pub eos_token_id: i64,
}

/// Whether the pooled vector is projected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum ClipArchitecture {
    /// It is not.
    #[serde(rename = "CLIPTextModel")]
    Plain,
    /// It is, without bias.
    #[serde(rename = "CLIPTextModelWithProjection")]
    WithProjection,
}

/// Between the layers of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClipActivation {
    /// `x sigmoid(1.702 x)`.
    QuickGelu,
    /// `x Phi(x)`.
    Gelu,
}

impl ClipTextConfig {
    /// CLIP-L of SDXL, not projected: 123 million parameters.
    pub fn clip_l() -> Self {
        Self {
            architectures: [ClipArchitecture::Plain],
            vocab_size: 49_408,
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: 77,
            hidden_act: ClipActivation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: LEGACY_EOS,
        }
    }

    /// OpenCLIP's bigG of SDXL and SD3: 695 million parameters.
    pub fn big_g() -> Self {
        Self {
            architectures: [ClipArchitecture::WithProjection],
            hidden_size: 1280,
            intermediate_size: 5120,
            projection_dim: 1280,
            num_hidden_layers: 32,
            num_attention_heads: 20,
            hidden_act: ClipActivation::Gelu,
            ..Self::clip_l()
        }
    }

    fn check(&self) -> Result<(), ModelError> {
        let (dim, heads) = (self.hidden_size, self.num_attention_heads);
        let reason = if dim % heads != 0 {
            format!("hidden_size {dim} is no multiple of num_attention_heads {heads}")
        } else if self.num_hidden_layers < 1 {
            "there is no layer".to_owned()
        } else {
            return Ok(());
        };
        Err(ModelError::Sizes {
            network: "CLIP",
            reason,
        })
    }
}

/// What the tower makes of a batch of prompts.
#[derive(Debug)]
pub struct ClipFeatures {
    /// `[B, L, D]` before the last block, not normalised: transformers' `hidden_states[-2]`.
    pub penultimate: Tensor,
    /// `[B, L, D]` after the final norm.
    pub last: Tensor,
    /// `[B, D]`: of `last`, the first end token.
    pub pooled: Tensor,
    /// `[B, P]`, where the tower has a projection.
    pub projected: Option<Tensor>,
}

/// The network.
#[derive(Debug)]
pub struct ClipText {
    config: ClipTextConfig,
    token_embedding: Tensor,
    position_embedding: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    projection: Option<Linear>,
}

impl Transformers for ClipText {
    const ARCHITECTURES: &'static [&'static str] =
        &["CLIPTextModel", "CLIPTextModelWithProjection"];
    type Config = ClipTextConfig;

    fn new(store: &ParamStore, config: ClipTextConfig) -> Result<Self, ModelError> {
        config.check()?;
        let root = Scope::root(store, &[]);
        let model = root.sub("text_model");
        let dim = config.hidden_size;
        let table = |name: &str, rows| {
            model
                .sub("embeddings")
                .sub(name)
                .param("weight", &[rows, dim], Init::Zeros)
        };
        let projection = match config.architectures {
            [ClipArchitecture::Plain] => None,
            [ClipArchitecture::WithProjection] => Some(Linear::precise_without_bias(
                &root.sub("text_projection"),
                dim,
                config.projection_dim,
                Init::Zeros,
            )),
        };
        Ok(Self {
            token_embedding: table("token_embedding", config.vocab_size),
            position_embedding: table("position_embedding", config.max_position_embeddings),
            blocks: (0..config.num_hidden_layers)
                .map(|index| Block::new(&model.sub("encoder.layers").sub(index), &config))
                .collect(),
            norm: LayerNorm::affine(&model.sub("final_layer_norm"), dim)
                .with_eps(config.layer_norm_eps),
            projection,
            config,
        })
    }

    /// Old versions saved the numbers of the positions.
    fn rename(stored: &str) -> Option<String> {
        let name = stored.strip_prefix("text_model.").unwrap_or(stored);
        match name {
            "embeddings.position_ids" => None,
            "text_projection.weight" => Some(name.to_owned()),
            _ => Some(format!("text_model.{name}")),
        }
    }
}

impl ClipText {
    /// Sizes.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
    }

    /// Whether pooled vectors are projected.
    pub fn has_projection(&self) -> bool {
        self.projection.is_some()
    }

    /// Features of `ids [B, L]` (i64, on any device), `L` at most the number of positions.
    pub fn forward(&self, ids: &Tensor) -> ClipFeatures {
        let length = ids.size()[1];
        let mut x =
            embed(&self.token_embedding, ids) + self.position_embedding.narrow(0, 0, length);
        let (final_block, blocks) = self.blocks.split_last().expect("checked");
        for block in blocks {
            x = block.forward(&x);
        }
        let last = self.norm.forward(&final_block.forward(&x));
        let pooled = self.pool(&last, ids);
        let project = |linear: &Linear| linear.forward(&pooled, &Call::default());
        ClipFeatures {
            projected: self.projection.as_ref().map(project),
            penultimate: x,
            last,
            pooled,
        }
    }

    /// `[B, D]`: the first end token of each row.
    fn pool(&self, last: &Tensor, ids: &Tensor) -> Tensor {
        let place = if self.config.eos_token_id == LEGACY_EOS {
            ids.argmax(1, false) // of several equal ones the first
        } else {
            let is_end = ids.eq(self.config.eos_token_id);
            is_end.to_kind(Kind::Int).argmax(1, false)
        };
        let index = place.to_device(last.device()).reshape([-1, 1, 1]);
        let index = index.expand([-1, 1, last.size()[2]], false);
        last.gather(1, &index, false).squeeze_dim(1)
    }
}

/// Pre-norm block under a causal mask.
#[derive(Debug)]
struct Block {
    norm1: LayerNorm,
    projections: Projections,
    out: Linear,
    norm2: LayerNorm,
    fc1: Linear,
    activation: ClipActivation,
    fc2: Linear,
}

impl Block {
    fn new(scope: &Scope<'_>, config: &ClipTextConfig) -> Self {
        let (dim, hidden) = (config.hidden_size, config.intermediate_size);
        let linear =
            |name: &str, input, output| Linear::new(&scope.sub(name), input, output, Init::Zeros);
        let norm =
            |name: &str| LayerNorm::affine(&scope.sub(name), dim).with_eps(config.layer_norm_eps);
        let qkv = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"];
        Self {
            norm1: norm("layer_norm1"),
            projections: Projections::new(
                qkv.map(|name| linear(name, dim, dim)),
                None,
                config.num_attention_heads,
            ),
            out: linear("self_attn.out_proj", dim, dim),
            norm2: norm("layer_norm2"),
            fc1: linear("mlp.fc1", dim, hidden),
            activation: config.hidden_act,
            fc2: linear("mlp.fc2", hidden, dim),
        }
    }

    /// `x [B, L, D]` -> same shape.
    fn forward(&self, x: &Tensor) -> Tensor {
        let call = Call::default();
        let [q, k, v] = self.projections.forward(&self.norm1.forward(x), &call);
        let x = x + self.out.forward(&attend(&q, &k, &v, None, true), &call);
        let hidden = self.fc1.forward(&self.norm2.forward(&x), &call);
        let hidden = match self.activation {
            ClipActivation::QuickGelu => &hidden * (&hidden * 1.702).sigmoid(),
            ClipActivation::Gelu => hidden.gelu("none"),
        };
        x + self.fc2.forward(&hidden, &call)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_versions() {
        let name = "text_model.final_layer_norm.bias";
        for stored in [name, "final_layer_norm.bias"] {
            assert_eq!(ClipText::rename(stored).as_deref(), Some(name));
        }
        let name = "text_projection.weight";
        assert_eq!(ClipText::rename(name).as_deref(), Some(name));
        assert_eq!(ClipText::rename("text_model.embeddings.position_ids"), None);
    }
}
