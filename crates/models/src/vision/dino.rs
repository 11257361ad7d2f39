//! DINOv2 (arXiv 2304.07193) with its linear classifier of ImageNet: the reward of DMDR's class-conditional demo.
//!
//! Parameters carry the names of the two published files, `dinov2_vitl14_pretrain` and `dinov2_vitl14_linear4_head`
//! (github.com/facebookresearch/dinov2, `vision_transformer.py` and `hub/classifiers.py`). Deviation: patches, residual
//! stream and classifier stay f32 whatever the compute kind.

use std::{collections::BTreeMap, path::Path};

use dmdr_tensor::{Init, ParamStore, Scope, Tensor, read_tensors_where};
use serde::Deserialize;

use super::vit_block::VitBlock;
use crate::{
    Call, ModelError,
    blocks::Blocks,
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

    /// Sizes of the published files `backbone` and `head`, told from the shapes of what is in them. Every DINOv2 has heads
    /// of 64 channels.
    ///
    /// # Errors
    /// Files that cannot be read or lack what the sizes are told from.
    pub fn of_weights(backbone: &Path, head: &Path) -> Result<Self, ModelError> {
        const TOLD_BY: [&str; 2] = ["pos_embed", "patch_embed.proj.weight"];
        const SCALE: &str = ".ls1.gamma"; // one a block
        let shapes = |path: &Path, is_read: &dyn Fn(&str) -> bool| {
            let tensors = read_tensors_where(path, is_read)?.into_iter();
            let shapes = tensors.map(|(name, tensor)| (name, tensor.size()));
            Ok::<BTreeMap<String, Vec<i64>>, ModelError>(shapes.collect())
        };
        let found = shapes(backbone, &|name| {
            TOLD_BY.contains(&name) || name.ends_with(SCALE)
        })?;
        let classes = shapes(head, &|name| name == "weight")?;
        let [positions, patches] = TOLD_BY.map(|name| found.get(name).map(Vec::as_slice));
        let (Some(&[1, places, embed_dim]), Some(&[_, 3, patch_size, _]), Some(&[num_classes, _])) =
            (positions, patches, classes.get("weight").map(Vec::as_slice))
        else {
            let files = format!("`{}` and `{}`", backbone.display(), head.display());
            return Err(ModelError::Sizes {
                network: "DINOv2",
                reason: format!("{files} are not a published backbone and its linear classifier"),
            });
        };
        Ok(Self {
            image_size: ((places - 1) as f64).sqrt() as i64 * patch_size,
            patch_size,
            embed_dim,
            depth: found.keys().filter(|name| name.ends_with(SCALE)).count() as i64,
            num_heads: embed_dim / 64,
            num_classes,
        })
    }

    fn check(&self) -> Result<(), ModelError> {
        let reason = if self.num_heads < 1 || self.embed_dim % self.num_heads != 0 {
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
    blocks: Blocks<VitBlock>,
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
            blocks: Blocks::of_tower((0..config.depth).map(|index| {
                VitBlock::scaled(&scope.sub("blocks").sub(index), dim, config.num_heads)
            })),
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
        let call = Call::default();
        for index in 0..self.blocks.len() {
            x = self
                .blocks
                .run_one(index, &[&x], &call, |block, x, _| block.forward(&x[0]));
            if index + READ >= self.blocks.len() {
                read.push(self.norm.forward(&x.select(1, 0)));
            }
        }
        let patches = self.norm.forward(&x).slice(1, 1, None, 1);
        read.push(patches.mean_dim(&[1i64][..], false, x.kind()));
        self.head.forward(&Tensor::cat(&read, 1), &call)
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
