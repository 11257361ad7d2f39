//! Both of CLIP's published towers: images and prompts in one space.
//!
//! Names as in transformers' `CLIPModel` (5.23.0); weights of open_clip are translated.

use std::{path::Path, sync::LazyLock};

use dmdr_tensor::{Init, ParamStore, Scope, Tensor, are_weights_random, read_tensors};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{ClipVision, ClipVisionConfig, from_open_clip, unit::unit};
use crate::{
    ClipActivation, ClipArchitecture, ClipText, ClipTextConfig, ModelError, Transformers as _,
    diffusers::{config_fields, from_value},
    text::TRANSFORMERS_WEIGHTS,
};

/// What transformers' `CLIPTextConfig` takes for a field that is left out.
static TEXT_DEFAULTS: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "vocab_size": 49_408, "hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 12,
        "num_attention_heads": 8, "max_position_embeddings": 77, "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5, "eos_token_id": 49_407,
    })
});
/// Likewise of `CLIPVisionConfig`.
static VISION_DEFAULTS: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
        "image_size": 224, "patch_size": 32, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5,
    })
});

/// Sizes; fields of transformers' `config.json`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClipPairConfig {
    /// The text tower, projected.
    pub text_config: ClipTextConfig,
    /// The image tower.
    pub vision_config: ClipVisionConfig,
}

impl ClipPairConfig {
    /// OpenAI's ViT-L/14: 428 million parameters.
    pub fn l_14() -> Self {
        Self {
            text_config: ClipTextConfig {
                architectures: [ClipArchitecture::WithProjection],
                ..ClipTextConfig::clip_l()
            },
            vision_config: ClipVisionConfig::l_14(),
        }
    }

    /// open_clip's ViT-H/14, of LAION, HPSv2 and PickScore: 986 million parameters.
    pub fn h_14() -> Self {
        Self {
            text_config: ClipTextConfig {
                architectures: [ClipArchitecture::WithProjection],
                hidden_size: 1024,
                intermediate_size: 4096,
                projection_dim: 1024,
                num_hidden_layers: 24,
                num_attention_heads: 16,
                hidden_act: ClipActivation::Gelu,
                ..ClipTextConfig::clip_l()
            },
            vision_config: ClipVisionConfig::h_14(),
        }
    }

    /// OpenAI's ViT-B with patches of side `patch_size`, 32 or 16: 150 million parameters.
    pub fn base(patch_size: i64) -> Self {
        Self {
            text_config: ClipTextConfig {
                hidden_size: 512,
                intermediate_size: 2048,
                projection_dim: 512,
                num_attention_heads: 8,
                ..Self::l_14().text_config
            },
            vision_config: ClipVisionConfig::base(patch_size),
        }
    }

    /// open_clip's ViT-g/14: 1.4 billion parameters.
    pub fn g_14() -> Self {
        Self {
            vision_config: ClipVisionConfig::g_14(),
            ..Self::h_14()
        }
    }

    /// The same with `activation` in both towers.
    #[must_use]
    pub fn with_activation(mut self, activation: ClipActivation) -> Self {
        self.text_config.hidden_act = activation;
        self.vision_config.hidden_act = activation;
        self
    }

    /// Sizes that a folder states in its `config.json`; what it leaves out has transformers' defaults.
    ///
    /// # Errors
    /// A `config.json` that is not there or cannot be understood.
    pub fn of_folder(folder: &Path) -> Result<Self, ModelError> {
        let (path, mut fields) = config_fields(folder)?;
        let shared = fields.remove("projection_dim").unwrap_or(json!(512));
        let mut part = |name: &str, mut sizes: Value| {
            let stated = fields.remove(name).unwrap_or_default();
            for (key, value) in stated.as_object().into_iter().flatten() {
                if !value.is_null() {
                    sizes[key] = value.clone();
                }
            }
            // `CLIPModel` reads the field of the pair, not those of its parts.
            sizes["projection_dim"] = shared.clone();
            sizes
        };
        let mut text_config = part("text_config", TEXT_DEFAULTS.clone());
        text_config["architectures"] = json!(["CLIPTextModelWithProjection"]);
        let vision_config = part("vision_config", VISION_DEFAULTS.clone());
        let sizes = json!({ "text_config": text_config, "vision_config": vision_config });
        from_value(&path, sizes)
    }

    /// Apple's DFN5B ViT-H/14, which has QuickGELU, for images of side 224 or 378.
    pub fn dfn_h_14(image_size: i64) -> Self {
        let mut config = Self::h_14().with_activation(ClipActivation::QuickGelu);
        config.vision_config.image_size = image_size;
        config
    }
}

/// The towers.
#[derive(Debug)]
pub struct ClipPair {
    text: ClipText,
    image: ClipVision,
    logit_scale: Tensor,
}

impl ClipPair {
    /// Builds both towers with parameters in `store`, all zeros.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn new(store: &ParamStore, config: ClipPairConfig) -> Result<Self, ModelError> {
        let scope = Scope::root(store, &[]);
        Ok(Self {
            text: ClipText::new(store, config.text_config)?,
            image: ClipVision::new(&scope, config.vision_config)?,
            logit_scale: scope.param("logit_scale", &[], Init::Zeros),
        })
    }

    /// [`Self::new`] with the weights at `path`: a folder as transformers saves it, or one file under open_clip's names.
    ///
    /// # Errors
    /// Sizes that contradict each other; weights that cannot be read or do not fit.
    pub fn load(
        store: &ParamStore,
        path: &Path,
        config: ClipPairConfig,
    ) -> Result<Self, ModelError> {
        let net = Self::new(store, config)?;
        if are_weights_random() {
            store.load(path)?;
        } else if path.is_dir() {
            // Old versions saved the numbers of the positions.
            let rename =
                |name: &str| (!name.ends_with(".embeddings.position_ids")).then(|| name.to_owned());
            store.load_folder_of(path, TRANSFORMERS_WEIGHTS, &rename)?;
        } else {
            store.load_tensors(&from_open_clip(read_tensors(path)?), path)?;
        }
        Ok(net)
    }

    /// The image tower.
    pub fn image(&self) -> &ClipVision {
        &self.image
    }

    /// Unit embeddings `[B, E]` of `ids [B, L]` (i64), f32.
    ///
    /// # Panics
    /// If the text tower was built without projection.
    pub fn embed_text(&self, ids: &Tensor) -> Tensor {
        let projected = self.text.forward(ids).projected;
        unit(&projected.expect("the text tower has a projection"))
    }

    /// Unit embeddings `[B, E]` of normalised `pixels [B, 3, S, S]`, f32.
    pub fn embed_image(&self, pixels: &Tensor) -> Tensor {
        self.image.embed(pixels)
    }

    /// `exp(logit_scale)`, scalar: what the towers were trained to multiply a cosine by.
    pub fn temperature(&self) -> Tensor {
        self.logit_scale.exp()
    }
}
