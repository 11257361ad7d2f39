//! CLIP's text tower (arXiv 2103.00020): CLIP-L and OpenCLIP's bigG, which condition latent diffusion.
//!
//! Parameters carry the names of transformers' `CLIPTextModelWithProjection` (5.23.0, `models/clip/modeling_clip.py`),
//! and of `CLIPTextModel` with `text_model.` in front, as published; version 5 saves it without. Deviations: the residual
//! stream and the pooled vectors stay f32 whatever the compute kind; no padding mask, as no pipeline gives one.

use std::path::Path;

use dmdr_tensor::{Init, Kind, ParamStore, Scope, Tensor};
use serde::Deserialize;

use super::{TRANSFORMERS_WEIGHTS, Transformers, embed::embed, load_transformers_config};
use crate::{
    Call, ModelError,
    clip_block::{ClipActivation, ClipBlock, ClipBlockConfig},
    diffusers::check_range,
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

/// Tokens that all published ones read.
pub(crate) const CLIP_TOKENS: i64 = 77;

impl ClipTextConfig {
    /// CLIP-L, not projected: 123 million parameters.
    pub fn clip_l() -> Self {
        Self {
            architectures: [ClipArchitecture::Plain],
            vocab_size: 49_408,
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            max_position_embeddings: CLIP_TOKENS,
            hidden_act: ClipActivation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: LEGACY_EOS,
        }
    }

    /// OpenCLIP's bigG: 695 million parameters.
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
        let check = |most, sizes: &[_]| check_range("CLIP", most, sizes);
        check(1 << 10, &[("num_hidden_layers", self.num_hidden_layers)])?;
        check(
            1 << 16,
            &[
                ("hidden_size", self.hidden_size),
                ("intermediate_size", self.intermediate_size),
                ("projection_dim", self.projection_dim),
                ("num_attention_heads", self.num_attention_heads),
                ("max_position_embeddings", self.max_position_embeddings),
            ],
        )?;
        check(1 << 24, &[("vocab_size", self.vocab_size)])?;
        let (dim, heads) = (self.hidden_size, self.num_attention_heads);
        let reason = if dim % heads != 0 {
            format!("hidden_size {dim} is no multiple of num_attention_heads {heads}")
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
    blocks: Vec<ClipBlock>,
    norm: LayerNorm,
    projection: Option<Linear>,
}

impl Transformers for ClipText {
    const ARCHITECTURES: &'static [&'static str] =
        &["CLIPTextModel", "CLIPTextModelWithProjection"];
    const DEFAULTS: &'static str = r#"{
        "vocab_size": 49408, "hidden_size": 512, "intermediate_size": 2048, "projection_dim": 512,
        "num_hidden_layers": 12, "num_attention_heads": 8, "max_position_embeddings": 77,
        "hidden_act": "quick_gelu", "layer_norm_eps": 1e-05, "eos_token_id": 49407
    }"#;
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
        let block = ClipBlockConfig {
            dim,
            hidden: config.intermediate_size,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            eps: config.layer_norm_eps,
            causal: true,
        };
        Ok(Self {
            token_embedding: table("token_embedding", config.vocab_size),
            position_embedding: table("position_embedding", config.max_position_embeddings),
            blocks: (0..config.num_hidden_layers)
                .map(|index| ClipBlock::new(&model.sub("encoder.layers").sub(index), block))
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
    /// The network in `folder` as a class of its own choosing, whatever `config.json` says, as the pipelines of diffusers
    /// load it: they know which class a part has.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn load_as(
        store: &ParamStore,
        folder: &Path,
        architecture: ClipArchitecture,
    ) -> Result<Self, ModelError> {
        let mut config = load_transformers_config::<Self>(folder)?;
        config.architectures = [architecture];
        let is_plain = architecture == ClipArchitecture::Plain;
        let rename = |name: &str| {
            let is_unused = is_plain && name == "text_projection.weight";
            (!is_unused).then(|| Self::rename(name)).flatten()
        };
        let net =
            Self::new(store, config).map_err(|error| error.in_file(&folder.join("config.json")))?;
        store.load_folder_of(folder, TRANSFORMERS_WEIGHTS, &rename)?;
        Ok(net)
    }

    /// Sizes.
    pub fn config(&self) -> &ClipTextConfig {
        &self.config
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
