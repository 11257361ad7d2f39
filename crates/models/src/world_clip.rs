//! World-CLIP: an image and a text tower trained contrastively (CLIP, arXiv 2103.00020), small enough for two cores.
//!
//! The text tower's tokens and pooled vector condition the teacher, as CLIP's do for Stable Diffusion. The same class
//! with its own weights is the preference model (HPSv2's form: a CLIP fine-tuned on pairs, score = cosine).

use dmdr_tensor::{Init, ParamStore, Scope, Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    Call, Conditioning, Stored,
    attention::Attention,
    layers::{LayerNorm, Linear, Mlp, patchify, sincos_positions},
};

/// Sizes of the text tower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextTowerConfig {
    /// Words, specials included.
    pub vocabulary: i64,
    /// Tokens a caption is padded to.
    pub max_tokens: i64,
    /// Id of the end token, whose feature is pooled.
    pub end_token: i64,
    /// Width.
    pub dim: i64,
    /// Blocks.
    pub depth: i64,
    /// Attention heads.
    pub heads: i64,
}

/// Sizes of the image tower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageTowerConfig {
    /// Image side in pixels.
    pub image_size: i64,
    /// Patch side in pixels.
    pub patch: i64,
    /// Width.
    pub dim: i64,
    /// Blocks.
    pub depth: i64,
    /// Attention heads.
    pub heads: i64,
}

/// Sizes of both towers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipConfig {
    /// Text tower.
    pub text: TextTowerConfig,
    /// Image tower.
    pub image: ImageTowerConfig,
    /// Width of the shared space.
    pub embed_dim: i64,
}

/// Both towers.
#[derive(Debug)]
pub struct WorldClip {
    config: ClipConfig,
    text: TextTower,
    image: ImageTower,
    logit_scale: Tensor,
}

impl WorldClip {
    /// Builds both towers with parameters in `store`.
    pub fn new(store: &ParamStore, config: ClipConfig) -> Self {
        let scope = Scope::root(store, &[]);
        Self {
            text: TextTower::new(&scope.sub("text"), &config),
            image: ImageTower::new(&scope.sub("image"), &config),
            logit_scale: scope.param("logit_scale", &[], Init::Constant((1.0_f64 / 0.07).ln())),
            config,
        }
    }

    /// Sizes.
    pub fn config(&self) -> &ClipConfig {
        &self.config
    }

    /// Token features and pooled vector of `ids [B, L]` (i64), for a diffusion backbone.
    pub fn condition(&self, ids: &Tensor) -> Conditioning {
        let tokens = self.text.tokens(ids);
        Conditioning {
            pooled: self.text.pool(&tokens, ids),
            tokens,
        }
    }

    /// Unit text embeddings `[B, E]` of `ids [B, L]`.
    pub fn embed_text(&self, ids: &Tensor) -> Tensor {
        unit(&self.text.pool(&self.text.tokens(ids), ids))
    }

    /// Unit image embeddings `[B, E]` of `images [B, 3, H, W]` in `[0, 1]`.
    pub fn embed_image(&self, images: &Tensor) -> Tensor {
        unit(&self.image.forward(images))
    }

    /// Cosine of each image with its own caption, `[B]`.
    pub fn score(&self, images: &Tensor, ids: &Tensor) -> Tensor {
        let product = self.embed_image(images) * self.embed_text(ids);
        product.sum_dim_intlist(&[-1i64][..], false, dmdr_tensor::Kind::Float)
    }

    /// `exp(logit_scale)`, at most 100, scalar.
    pub fn temperature(&self) -> Tensor {
        self.logit_scale.clamp_max(100.0_f64.ln()).exp()
    }
}

impl Stored for WorldClip {
    const FORMAT: &'static str = "dmdr.world-clip";
    type Config = ClipConfig;
}

fn unit(x: &Tensor) -> Tensor {
    let norm = x
        .square()
        .sum_dim_intlist(&[-1i64][..], true, dmdr_tensor::Kind::Float)
        .sqrt();
    x / norm.clamp_min(1e-6)
}

/// Causal transformer over word tokens.
#[derive(Debug)]
struct TextTower {
    token_embedding: Tensor,
    position_embedding: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    projection: Linear,
    end_token: i64,
}

impl TextTower {
    fn new(scope: &Scope<'_>, config: &ClipConfig) -> Self {
        let TextTowerConfig {
            vocabulary,
            max_tokens,
            end_token,
            dim,
            depth,
            heads,
        } = config.text;
        Self {
            token_embedding: scope.param(
                "token_embedding.weight",
                &[vocabulary, dim],
                Init::Normal(0.2),
            ),
            position_embedding: scope.param(
                "position_embedding.weight",
                &[max_tokens, dim],
                Init::Normal(0.2),
            ),
            blocks: (0..depth)
                .map(|index| Block::new(&scope.sub("blocks").sub(index), dim, heads))
                .collect(),
            norm: LayerNorm::affine(&scope.sub("norm"), dim),
            projection: Linear::new(
                &scope.sub("projection"),
                dim,
                config.embed_dim,
                Init::XavierUniform,
            ),
            end_token,
        }
    }

    /// `[B, L, D]`, normalised.
    fn tokens(&self, ids: &Tensor) -> Tensor {
        let length = ids.size()[1];
        let embedded = Tensor::embedding(&self.token_embedding, ids, -1, false, false);
        let mut x = embedded + self.position_embedding.narrow(0, 0, length);
        for block in &self.blocks {
            x = block.forward(&x, true);
        }
        self.norm.forward(&x)
    }

    /// Projected feature of the first end token, `[B, E]`.
    fn pool(&self, tokens: &Tensor, ids: &Tensor) -> Tensor {
        let position = ids
            .eq(self.end_token)
            .to_kind(dmdr_tensor::Kind::Int)
            .argmax(1, false);
        let index = position
            .reshape([-1, 1, 1])
            .expand([-1, 1, tokens.size()[2]], false);
        self.projection.forward(
            &tokens.gather(1, &index, false).squeeze_dim(1),
            &Call::default(),
        )
    }
}

/// A vision transformer with mean pooling.
#[derive(Debug)]
struct ImageTower {
    patch: i64,
    embedder: Linear,
    positions: Tensor,
    blocks: Vec<Block>,
    norm: LayerNorm,
    projection: Linear,
}

impl ImageTower {
    fn new(scope: &Scope<'_>, config: &ClipConfig) -> Self {
        let ImageTowerConfig {
            image_size,
            patch,
            dim,
            depth,
            heads,
        } = config.image;
        let init = Init::XavierUniform;
        Self {
            patch,
            embedder: Linear::new(&scope.sub("patch_embedding"), 3 * patch * patch, dim, init),
            positions: sincos_positions(image_size / patch, dim, scope.device()),
            blocks: (0..depth)
                .map(|index| Block::new(&scope.sub("blocks").sub(index), dim, heads))
                .collect(),
            norm: LayerNorm::affine(&scope.sub("norm"), dim),
            projection: Linear::new(&scope.sub("projection"), dim, config.embed_dim, init),
        }
    }

    /// `images [B, 3, H, W]` in `[0, 1]` -> `[B, E]`.
    fn forward(&self, images: &Tensor) -> Tensor {
        let call = Call::default();
        let patches = patchify(&(images * 2.0 - 1.0), self.patch);
        let mut x = self.embedder.forward(&patches, &call) + &self.positions;
        for block in &self.blocks {
            x = block.forward(&x, false);
        }
        let pooled = self
            .norm
            .forward(&x)
            .mean_dim(&[1i64][..], false, dmdr_tensor::Kind::Float);
        self.projection.forward(&pooled, &call)
    }
}

/// Pre-norm transformer block.
#[derive(Debug)]
struct Block {
    norm1: LayerNorm,
    attn: Attention,
    norm2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    fn new(scope: &Scope<'_>, dim: i64, heads: i64) -> Self {
        Self {
            norm1: LayerNorm::affine(&scope.sub("norm1"), dim),
            attn: Attention::new(&scope.sub("attn"), dim, heads),
            norm2: LayerNorm::affine(&scope.sub("norm2"), dim),
            mlp: Mlp::new(&scope.sub("mlp"), dim, 4 * dim),
        }
    }

    fn forward(&self, x: &Tensor, causal: bool) -> Tensor {
        let call = Call::default();
        let x = x + self
            .attn
            .forward(&self.norm1.forward(x), None, causal, &call);
        &x + self.mlp.forward(&self.norm2.forward(&x), &call)
    }
}
