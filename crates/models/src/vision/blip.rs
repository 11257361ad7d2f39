//! BLIP (arXiv 2201.12086) as ImageReward (2304.05977) uses it: a prompt is read while looking at an image, and the first
//! token's feature becomes a rating.
//!
//! Parameters carry the names of `ImageReward.pt`: BLIP's ViT and BERT (github.com/salesforce/BLIP, `vit.py` and `med.py`)
//! and the rating's layers. Deviations: embeddings, residual streams and the rating stay f32 whatever the compute kind;
//! masked tokens are left out where upstream adds -10,000.

use std::path::Path;

use dmdr_tensor::{Init, Kind, ParamStore, Scope, Tensor};
use serde::Deserialize;

use super::{RatingHead, shapes::shapes_where, vit_block::VitBlock};
use crate::{
    Call, ModelError,
    attention::attend,
    blocks::Blocks,
    layers::{LayerNorm, Linear, PatchEmbed},
};

/// Eps of BERT's layer norms.
const EPS: f64 = 1e-12;

/// Sizes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlipConfig {
    /// Image side in pixels.
    pub image_size: i64,
    /// Patch side in pixels.
    pub patch_size: i64,
    /// Width of the image encoder.
    pub image_dim: i64,
    /// Its blocks.
    pub image_depth: i64,
    /// Its attention heads.
    pub image_heads: i64,
    /// Rows of the token table.
    pub vocabulary: i64,
    /// Tokens a prompt may have.
    pub max_tokens: i64,
    /// Width of the text encoder.
    pub text_dim: i64,
    /// Hidden width of its MLPs.
    pub text_hidden: i64,
    /// Its layers.
    pub text_depth: i64,
    /// Its attention heads.
    pub text_heads: i64,
}

impl BlipConfig {
    /// ImageReward's: ViT-L/16 and BERT-base with cross-attention, 446 million parameters.
    pub fn image_reward() -> Self {
        Self {
            image_size: 224,
            patch_size: 16,
            image_dim: 1024,
            image_depth: 24,
            image_heads: 16,
            vocabulary: 30_524,
            max_tokens: 512,
            text_dim: 768,
            text_hidden: 3072,
            text_depth: 12,
            text_heads: 12,
        }
    }

    /// Sizes of the file `path`, told from the shapes of what is in it. Heads have 64 channels, as in every BLIP.
    ///
    /// # Errors
    /// A file that cannot be read or lacks what the sizes are told from.
    pub fn of_weights(path: &Path) -> Result<Self, ModelError> {
        const TOLD_BY: [&str; 5] = [
            "blip.visual_encoder.pos_embed",
            "blip.visual_encoder.patch_embed.proj.weight",
            "blip.text_encoder.embeddings.word_embeddings.weight",
            "blip.text_encoder.embeddings.position_embeddings.weight",
            "blip.text_encoder.encoder.layer.0.intermediate.dense.weight",
        ];
        const BLOCK: &str = ".norm1.weight"; // one a block of the image encoder
        const LAYER: &str = ".crossattention.self.query.weight"; // one a layer of the text encoder
        let found = shapes_where(path, &|name| {
            TOLD_BY.contains(&name) || name.ends_with(BLOCK) || name.ends_with(LAYER)
        })?;
        let [places, patches, words, positions, mlp] =
            TOLD_BY.map(|name| found.get(name).map(Vec::as_slice));
        let (
            Some(&[1, places, image_dim]),
            Some(&[_, 3, patch_size, _]),
            Some(&[vocabulary, text_dim]),
            Some(&[max_tokens, _]),
            Some(&[text_hidden, _]),
        ) = (places, patches, words, positions, mlp)
        else {
            return Err(ModelError::Sizes {
                network: "BLIP",
                reason: format!("`{}` is not an ImageReward", path.display()),
            });
        };
        let count = |end: &str| found.keys().filter(|name| name.ends_with(end)).count() as i64;
        Ok(Self {
            image_size: ((places - 1) as f64).sqrt() as i64 * patch_size,
            patch_size,
            image_dim,
            image_depth: count(BLOCK),
            image_heads: image_dim / 64,
            vocabulary,
            max_tokens,
            text_dim,
            text_hidden,
            text_depth: count(LAYER),
            text_heads: text_dim / 64,
        })
    }

    fn check(&self) -> Result<(), ModelError> {
        let reason = if self.image_size % self.patch_size != 0 {
            format!(
                "image_size {} is no multiple of patch_size {}",
                self.image_size, self.patch_size
            )
        } else if self.image_heads < 1
            || self.text_heads < 1
            || self.image_dim % self.image_heads != 0
            || self.text_dim % self.text_heads != 0
        {
            "a width is no multiple of its attention heads".to_owned()
        } else {
            return Ok(());
        };
        Err(ModelError::Sizes {
            network: "BLIP",
            reason,
        })
    }
}

/// The network.
#[derive(Debug)]
pub struct BlipRating {
    config: BlipConfig,
    image: ImageEncoder,
    words: Tensor,
    positions: Tensor,
    norm: LayerNorm,
    layers: Blocks<TextLayer>,
    head: RatingHead,
}

impl BlipRating {
    /// Builds the network with parameters in `store`, all zeros.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn new(store: &ParamStore, config: BlipConfig) -> Result<Self, ModelError> {
        config.check()?;
        let root = Scope::root(store, &[]);
        let text = root.sub("blip.text_encoder");
        let embeddings = text.sub("embeddings");
        let dim = config.text_dim;
        let table = |name: &str, rows| {
            embeddings
                .sub(name)
                .param("weight", &[rows, dim], Init::Zeros)
        };
        Ok(Self {
            image: ImageEncoder::new(&root.sub("blip.visual_encoder"), &config),
            words: table("word_embeddings", config.vocabulary),
            positions: table("position_embeddings", config.max_tokens),
            norm: LayerNorm::affine(&embeddings.sub("LayerNorm"), dim).with_eps(EPS),
            layers: Blocks::of_tower(
                (0..config.text_depth)
                    .map(|index| TextLayer::new(&text.sub("encoder.layer").sub(index), &config)),
            ),
            head: RatingHead::new(&root.sub("mlp"), dim),
            config,
        })
    }

    /// [`Self::new`] with the weights in the file `path`, of which projections for another task are not read.
    ///
    /// # Errors
    /// Sizes that contradict each other; weights that cannot be read or do not fit.
    pub fn load(store: &ParamStore, path: &Path, config: BlipConfig) -> Result<Self, ModelError> {
        let net = Self::new(store, config)?;
        let rename = |name: &str| {
            let unused = ["blip.vision_proj.", "blip.text_proj."];
            let is_unused = unused.iter().any(|part| name.starts_with(part));
            (!is_unused && !name.ends_with(".position_ids")).then(|| name.to_owned())
        };
        store.load_renamed(path, &rename)?;
        Ok(net)
    }

    /// Sizes.
    pub fn config(&self) -> &BlipConfig {
        &self.config
    }

    /// Ratings `[B]`, f32, of normalised `pixels [B, 3, S, S]` for prompts with tokens `ids [B, L]` (i64), the first
    /// `lengths [B]` (i64) of each row; both on any device.
    pub fn forward(&self, pixels: &Tensor, ids: &Tensor, lengths: &Tensor) -> Tensor {
        let device = pixels.device();
        let (ids, lengths) = (ids.to_device(device), lengths.to_device(device));
        let length = ids.size()[1];
        let place = Tensor::arange(length, (Kind::Int64, device));
        let is_seen = place.lt_tensor(&lengths.unsqueeze(1)); // [B, L]
        let mask = is_seen.unsqueeze(1).unsqueeze(1);
        let image = self.image.forward(pixels);
        let words = Tensor::embedding(&self.words, &ids, -1, false, false);
        let x = self
            .norm
            .forward(&(words + self.positions.narrow(0, 0, length)));
        let x = self
            .layers
            .run(x, &[&mask, &image], &Call::default(), |layer, inputs, _| {
                layer.forward(&inputs[0], &inputs[1], &inputs[2])
            });
        self.head.forward(&x.select(1, 0))
    }
}

/// The vision transformer, all tokens of which are read.
#[derive(Debug)]
struct ImageEncoder {
    patch_embed: PatchEmbed,
    class_token: Tensor,
    positions: Tensor,
    blocks: Blocks<VitBlock>,
    norm: LayerNorm,
}

impl ImageEncoder {
    fn new(scope: &Scope<'_>, config: &BlipConfig) -> Self {
        let (dim, heads) = (config.image_dim, config.image_heads);
        let side = config.image_size / config.patch_size;
        Self {
            patch_embed: PatchEmbed::new(&scope.sub("patch_embed"), 3, dim, config.patch_size),
            class_token: scope.param("cls_token", &[1, 1, dim], Init::Zeros),
            positions: scope.param("pos_embed", &[1, side * side + 1, dim], Init::Zeros),
            blocks: Blocks::of_tower(
                (0..config.image_depth)
                    .map(|index| VitBlock::new(&scope.sub("blocks").sub(index), dim, heads)),
            ),
            norm: LayerNorm::affine(&scope.sub("norm"), dim),
        }
    }

    /// `pixels [B, 3, S, S]` -> `[B, N + 1, D]`.
    fn forward(&self, pixels: &Tensor) -> Tensor {
        let class = self.class_token.expand([pixels.size()[0], -1, -1], false);
        let tokens = Tensor::cat(&[class, self.patch_embed.forward(pixels)], 1);
        let first = tokens + &self.positions;
        let last = self
            .blocks
            .run(first, &[], &Call::default(), |block, x, _| {
                block.forward(&x[0])
            });
        self.norm.forward(&last)
    }
}

/// A layer of BERT, normalised behind each part, with attention to the image between self-attention and MLP.
#[derive(Debug)]
struct TextLayer {
    attention: BertAttention,
    cross_attention: BertAttention,
    fc1: Linear,
    fc2: Linear,
    norm: LayerNorm,
}

impl TextLayer {
    fn new(scope: &Scope<'_>, config: &BlipConfig) -> Self {
        let (dim, hidden, heads) = (config.text_dim, config.text_hidden, config.text_heads);
        let attention =
            |name: &str, source| BertAttention::new(&scope.sub(name), dim, source, heads);
        Self {
            attention: attention("attention", dim),
            cross_attention: attention("crossattention", config.image_dim),
            fc1: Linear::new(&scope.sub("intermediate.dense"), dim, hidden, Init::Zeros),
            fc2: Linear::new(&scope.sub("output.dense"), hidden, dim, Init::Zeros),
            norm: LayerNorm::affine(&scope.sub("output.LayerNorm"), dim).with_eps(EPS),
        }
    }

    /// `x [B, L, D]`, `mask [B, 1, 1, L]`, `image [B, N, Di]` -> same shape as `x`.
    fn forward(&self, x: &Tensor, mask: &Tensor, image: &Tensor) -> Tensor {
        let x = self.attention.forward(x, x, Some(mask));
        let x = self.cross_attention.forward(&x, image, None);
        let call = Call::default();
        let hidden = self.fc1.forward(&x, &call).gelu("none");
        self.norm.forward(&(&x + self.fc2.forward(&hidden, &call)))
    }
}

/// Attention of `x` to a source, added to `x` and normalised.
#[derive(Debug)]
struct BertAttention {
    query: Linear,
    key: Linear,
    value: Linear,
    out: Linear,
    norm: LayerNorm,
    heads: i64,
}

impl BertAttention {
    fn new(scope: &Scope<'_>, dim: i64, source: i64, heads: i64) -> Self {
        let linear = |name: &str, input| Linear::new(&scope.sub(name), input, dim, Init::Zeros);
        Self {
            query: linear("self.query", dim),
            key: linear("self.key", source),
            value: linear("self.value", source),
            out: linear("output.dense", dim),
            norm: LayerNorm::affine(&scope.sub("output.LayerNorm"), dim).with_eps(EPS),
            heads,
        }
    }

    fn forward(&self, x: &Tensor, source: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let call = Call::default();
        let project =
            |linear: &Linear, x: &Tensor| linear.forward(x, &call).unflatten(2, [self.heads, -1]);
        let q = project(&self.query, x);
        let (k, v) = (project(&self.key, source), project(&self.value, source));
        let attended = attend(&q, &k, &v, mask, false);
        self.norm.forward(&(x + self.out.forward(&attended, &call)))
    }
}
