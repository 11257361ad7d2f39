//! CLIP's image tower (arXiv 2103.00020): OpenAI's, and those that open_clip trained.
//!
//! Parameters carry the names of transformers' `CLIPVisionModelWithProjection` (5.23.0, `models/clip/modeling_clip.py`),
//! its misspelt `pre_layrnorm` included; weights under open_clip's names come through [`super::from_open_clip`].
//! Deviation: patches, residual stream and projection stay f32 whatever the compute kind.

use std::path::Path;

use dmdr_tensor::{Init, ParamStore, Scope, Tensor};
use serde::Deserialize;

use super::unit::unit;
use crate::{
    Call, ModelError,
    blocks::Blocks,
    clip_block::{ClipActivation, ClipBlock, ClipBlockConfig},
    layers::{LayerNorm, Linear},
    text::TRANSFORMERS_WEIGHTS,
};

/// Sizes; fields of `vision_config` in transformers' `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClipVisionConfig {
    /// Width.
    pub hidden_size: i64,
    /// Hidden width of the MLPs.
    pub intermediate_size: i64,
    /// Width of the space shared with the text tower.
    pub projection_dim: i64,
    /// Blocks.
    pub num_hidden_layers: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Image side in pixels.
    pub image_size: i64,
    /// Patch side in pixels.
    pub patch_size: i64,
    /// Between the layers of the MLPs.
    pub hidden_act: ClipActivation,
    /// Eps of the layer norms.
    pub layer_norm_eps: f64,
}

impl ClipVisionConfig {
    /// OpenAI's ViT-L/14: 304 million parameters.
    pub fn l_14() -> Self {
        Self {
            hidden_size: 1024,
            intermediate_size: 4096,
            projection_dim: 768,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            image_size: 224,
            patch_size: 14,
            hidden_act: ClipActivation::QuickGelu,
            layer_norm_eps: 1e-5,
        }
    }

    /// open_clip's ViT-H/14, of HPSv2 and PickScore: 632 million parameters.
    pub fn h_14() -> Self {
        Self {
            hidden_size: 1280,
            intermediate_size: 5120,
            projection_dim: 1024,
            num_hidden_layers: 32,
            hidden_act: ClipActivation::Gelu,
            ..Self::l_14()
        }
    }

    /// OpenAI's ViT-B with patches of side `patch_size`, 32 or 16: 88 or 86 million parameters.
    pub fn base(patch_size: i64) -> Self {
        Self {
            hidden_size: 768,
            intermediate_size: 3072,
            projection_dim: 512,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            patch_size,
            ..Self::l_14()
        }
    }

    /// open_clip's ViT-g/14: a billion parameters. Its MLPs are 4.3637 times as wide as the rest, rounded down.
    pub fn g_14() -> Self {
        Self {
            hidden_size: 1408,
            intermediate_size: 6144,
            num_hidden_layers: 40,
            ..Self::h_14()
        }
    }

    fn check(&self) -> Result<(), ModelError> {
        let reason = if self.hidden_size % self.num_attention_heads != 0 {
            format!(
                "hidden_size {} is no multiple of num_attention_heads {}",
                self.hidden_size, self.num_attention_heads
            )
        } else if self.image_size % self.patch_size != 0 {
            format!(
                "image_size {} is no multiple of patch_size {}",
                self.image_size, self.patch_size
            )
        } else {
            return Ok(());
        };
        Err(ModelError::Sizes {
            network: "CLIP's image tower",
            reason,
        })
    }
}

/// The network.
#[derive(Debug)]
pub struct ClipVision {
    config: ClipVisionConfig,
    class_embedding: Tensor,
    patch_embedding: Tensor,
    position_embedding: Tensor,
    pre_norm: LayerNorm,
    blocks: Blocks<ClipBlock>,
    post_norm: LayerNorm,
    projection: Linear,
}

impl ClipVision {
    /// Builds the tower at the root of a network, with parameters all zeros.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn new(root: &Scope<'_>, config: ClipVisionConfig) -> Result<Self, ModelError> {
        config.check()?;
        let model = root.sub("vision_model");
        let (dim, patch) = (config.hidden_size, config.patch_size);
        let side = config.image_size / patch;
        let embeddings = model.sub("embeddings");
        let norm =
            |name: &str| LayerNorm::affine(&model.sub(name), dim).with_eps(config.layer_norm_eps);
        let block = ClipBlockConfig {
            dim,
            hidden: config.intermediate_size,
            heads: config.num_attention_heads,
            activation: config.hidden_act,
            eps: config.layer_norm_eps,
            causal: false,
        };
        Ok(Self {
            class_embedding: embeddings.param("class_embedding", &[dim], Init::Zeros),
            patch_embedding: embeddings.param(
                "patch_embedding.weight",
                &[dim, 3, patch, patch],
                Init::Zeros,
            ),
            position_embedding: embeddings.param(
                "position_embedding.weight",
                &[side * side + 1, dim],
                Init::Zeros,
            ),
            pre_norm: norm("pre_layrnorm"),
            blocks: Blocks::of_tower(
                (0..config.num_hidden_layers)
                    .map(|index| ClipBlock::new(&model.sub("encoder.layers").sub(index), block)),
            ),
            post_norm: norm("post_layernorm"),
            projection: Linear::precise_without_bias(
                &root.sub("visual_projection"),
                dim,
                config.projection_dim,
                Init::Zeros,
            ),
            config,
        })
    }

    /// The tower of the pair in `folder`, as transformers saves it, with parameters in `store`.
    ///
    /// # Errors
    /// Sizes that contradict each other; weights that cannot be read or do not fit.
    pub fn load(
        store: &ParamStore,
        folder: &Path,
        config: ClipVisionConfig,
    ) -> Result<Self, ModelError> {
        let net = Self::new(&Scope::root(store, &[]), config)?;
        let rename = |name: &str| {
            let is_number = name.ends_with(".position_ids"); // old versions saved them
            let is_own =
                name.starts_with("vision_model.") || name.starts_with("visual_projection.");
            (is_own && !is_number).then(|| name.to_owned())
        };
        store.load_folder_of(folder, TRANSFORMERS_WEIGHTS, &rename)?;
        Ok(net)
    }

    /// Sizes.
    pub fn config(&self) -> &ClipVisionConfig {
        &self.config
    }

    /// `pixels [B, 3, S, S]`, normalised as the tower was trained, `S` its image side -> embeddings `[B, E]`, f32, not of
    /// unit length.
    pub fn forward(&self, pixels: &Tensor) -> Tensor {
        let stride = [self.config.patch_size; 2];
        let none = None::<&Tensor>;
        let patches = pixels
            .conv2d(&self.patch_embedding, none, stride, 0, 1, 1)
            .flatten(2, 3)
            .transpose(1, 2);
        let class = self
            .class_embedding
            .expand([pixels.size()[0], 1, -1], false);
        let tokens = Tensor::cat(&[class, patches], 1) + &self.position_embedding;
        let call = Call::default();
        let x = self.pre_norm.forward(&tokens);
        let x = self
            .blocks
            .run(x, &[], &call, |block, x, _| block.forward(&x[0]));
        let pooled = self.post_norm.forward(&x.select(1, 0));
        self.projection.forward(&pooled, &call)
    }

    /// Unit embeddings `[B, E]`, f32, of the same.
    pub fn embed(&self, pixels: &Tensor) -> Tensor {
        unit(&self.forward(pixels))
    }
}
