//! DINOv2 (arXiv 2304.07193) with its linear classifier of ImageNet: the reward of DMDR's class-conditional demo.
//!
//! Parameters carry the names of the two published files, `dinov2_vitl14_pretrain` and `dinov2_vitl14_linear4_head`
//! (github.com/facebookresearch/dinov2, `vision_transformer.py` and `hub/classifiers.py`). Deviation: patches, residual
//! stream and classifier stay f32 whatever the compute kind.

use dmdr_tensor::{Init, ParamStore, Scope, Tensor};
use serde::Deserialize;

use super::vit_block::VitBlock;
use crate::{
    Call, ModelError,
    layers::{LayerNorm, Linear, PatchEmbed},
};

/// Blocks whose class tokens the classifier reads.
const READ: usize = 4;
/// What upstream adds to the grid before it divides, so that the quotient is never rounded down; it moves the positions.
const OFFSET: f64 = 0.1;

/// Sizes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DinoConfig {
    /// Side in pixels of the images that the positions belong to.
    pub image_size: i64,
    /// Patch side in pixels.
    pub patch_size: i64,
    /// Width.
    pub embed_dim: i64,
    /// Blocks.
    pub depth: i64,
    /// Attention heads.
    pub num_heads: i64,
    /// Classes.
    pub num_classes: i64,
}

impl DinoConfig {
    /// ViT-L/14: 304 million parameters, and five for each feature and class.
    pub fn l_14() -> Self {
        Self {
            image_size: 518,
            patch_size: 14,
            embed_dim: 1024,
            depth: 24,
            num_heads: 16,
            num_classes: 1000,
        }
    }

    fn check(&self) -> Result<(), ModelError> {
        let reason = if self.embed_dim % self.num_heads != 0 {
            format!(
                "embed_dim {} is no multiple of num_heads {}",
                self.embed_dim, self.num_heads
            )
        } else if self.image_size % self.patch_size != 0 {
            format!(
                "image_size {} is no multiple of patch_size {}",
                self.image_size, self.patch_size
            )
        } else if self.depth < READ as i64 {
            format!(
                "the classifier reads {READ} blocks, and depth is {}",
                self.depth
            )
        } else {
            return Ok(());
        };
        Err(ModelError::Sizes {
            network: "DINOv2",
            reason,
        })
    }
}

/// The network with its classifier.
#[derive(Debug)]
pub struct DinoClassifier {
    config: DinoConfig,
    patch_embed: PatchEmbed,
    class_token: Tensor,
    positions: Tensor,
    blocks: Vec<VitBlock>,
    norm: LayerNorm,
    head: Linear,
}

impl DinoClassifier {
    /// Builds the backbone with parameters in `backbone` and the classifier with parameters in `head`.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn new(
        backbone: &ParamStore,
        head: &ParamStore,
        config: DinoConfig,
    ) -> Result<Self, ModelError> {
        config.check()?;
        let scope = Scope::root(backbone, &[]);
        let (dim, side) = (config.embed_dim, config.image_size / config.patch_size);
        let _masked = scope.param("mask_token", &[1, dim], Init::Zeros); // stored, but only used in training
        Ok(Self {
            patch_embed: PatchEmbed::new(&scope.sub("patch_embed"), 3, dim, config.patch_size),
            class_token: scope.param("cls_token", &[1, 1, dim], Init::Zeros),
            positions: scope.param("pos_embed", &[1, side * side + 1, dim], Init::Zeros),
            blocks: (0..config.depth)
                .map(|index| {
                    VitBlock::scaled(&scope.sub("blocks").sub(index), dim, config.num_heads)
                })
                .collect(),
            norm: LayerNorm::affine(&scope.sub("norm"), dim),
            head: Linear::precise(
                &Scope::root(head, &[]),
                (READ as i64 + 1) * dim,
                config.num_classes,
                Init::Zeros,
            ),
            config,
        })
    }

    /// Sizes.
    pub fn config(&self) -> &DinoConfig {
        &self.config
    }

    /// `pixels [B, 3, H, W]`, normalised as ImageNet, sides multiples of the patch -> logits `[B, classes]`, f32.
    pub fn forward(&self, pixels: &Tensor) -> Tensor {
        let (b, _, height, width) = pixels.size4().expect("images are [B, C, H, W]");
        let patch = self.config.patch_size;
        let class = self.class_token.expand([b, -1, -1], false);
        let tokens = Tensor::cat(&[class, self.patch_embed.forward(pixels)], 1);
        let mut x = tokens + self.positions_of([height / patch, width / patch]);
        let mut read = Vec::with_capacity(READ + 1);
        for (index, block) in self.blocks.iter().enumerate() {
            x = block.forward(&x);
            if index + READ >= self.blocks.len() {
                read.push(self.norm.forward(&x.select(1, 0)));
            }
        }
        let patches = self.norm.forward(&x).slice(1, 1, None, 1);
        read.push(patches.mean_dim(&[1i64][..], false, x.kind()));
        self.head.forward(&Tensor::cat(&read, 1), &Call::default())
    }

    /// Positions `[1, 1 + h w, D]` of a grid `[h, w]`: the learned ones, resized by plain bicubic interpolation.
    fn positions_of(&self, grid: [i64; 2]) -> Tensor {
        let (dim, side) = (
            self.config.embed_dim,
            self.config.image_size / self.config.patch_size,
        );
        if grid == [side, side] {
            return self.positions.shallow_clone();
        }
        let scale = |count: i64| (count as f64 + OFFSET) / side as f64;
        let learned = self
            .positions
            .slice(1, 1, None, 1)
            .reshape([1, side, side, dim])
            .permute([0, 3, 1, 2]);
        let resized = learned
            .upsample_bicubic2d(grid, false, scale(grid[0]), scale(grid[1]))
            .flatten(2, 3)
            .transpose(1, 2);
        Tensor::cat(&[self.positions.narrow(1, 0, 1), resized], 1)
    }
}
