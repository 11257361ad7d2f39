//! DINOv2 (arXiv 2304.07193): its features, and its linear classifier of ImageNet, the reward of DMDR's class-conditional
//! demo.
//!
//! Parameters carry the names of the two published files, `dinov2_vitl14_pretrain` and `dinov2_vitl14_linear4_head`
//! (github.com/facebookresearch/dinov2, `vision_transformer.py` and `hub/classifiers.py`). Deviation: patches, residual
//! stream and classifier stay f32 whatever the compute kind.

use std::path::Path;

use dmdr_tensor::{Init, ParamStore, Scope, Tensor};
use serde::Deserialize;

use super::{shapes::shapes_where, vit_block::VitBlock};
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
    /// Classes; 0 of a backbone alone.
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

    /// Sizes of the published file `backbone`, told from the shapes of what is in it. Every DINOv2 has heads of 64 channels.
    ///
    /// # Errors
    /// A file that cannot be read or lacks what the sizes are told from.
    pub fn of_backbone(backbone: &Path) -> Result<Self, ModelError> {
        const TOLD_BY: [&str; 2] = ["pos_embed", "patch_embed.proj.weight"];
        const SCALE: &str = ".ls1.gamma"; // one a block
        let found = shapes_where(backbone, &|name| {
            TOLD_BY.contains(&name) || name.ends_with(SCALE)
        })?;
        let [positions, patches] = TOLD_BY.map(|name| found.get(name).map(Vec::as_slice));
        let (Some(&[1, places, embed_dim]), Some(&[_, 3, patch_size, _])) = (positions, patches)
        else {
            return Err(ModelError::Sizes {
                network: "DINOv2",
                reason: format!("`{}` is not a published backbone", backbone.display()),
            });
        };
        Ok(Self {
            image_size: ((places - 1) as f64).sqrt() as i64 * patch_size,
            patch_size,
            embed_dim,
            depth: found.keys().filter(|name| name.ends_with(SCALE)).count() as i64,
            num_heads: embed_dim / 64,
            num_classes: 0,
        })
    }

    /// [`Self::of_backbone`] with the classifier in the published file `head`.
    ///
    /// # Errors
    /// As for it.
    pub fn of_weights(backbone: &Path, head: &Path) -> Result<Self, ModelError> {
        let config = Self::of_backbone(backbone)?;
        let classes = shapes_where(head, &|name| name == "weight")?;
        let Some(&[num_classes, _]) = classes.get("weight").map(Vec::as_slice) else {
            return Err(ModelError::Sizes {
                network: "DINOv2",
                reason: format!("`{}` is not its linear classifier", head.display()),
            });
        };
        Ok(Self {
            num_classes,
            ..config
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

/// The network without its classifier.
#[derive(Debug)]
pub struct DinoVision {
    config: DinoConfig,
    patch_embed: PatchEmbed,
    class_token: Tensor,
    positions: Tensor,
    blocks: Blocks<VitBlock>,
    norm: LayerNorm,
}

impl DinoVision {
    /// Builds the network with parameters in `store`.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn new(store: &ParamStore, config: DinoConfig) -> Result<Self, ModelError> {
        config.check()?;
        let scope = Scope::root(store, &[]);
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
            config,
        })
    }

    /// The published file `path`.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    pub fn load(store: &ParamStore, path: &Path) -> Result<Self, ModelError> {
        let net = Self::new(store, DinoConfig::of_backbone(path)?)?;
        store.load(path)?;
        Ok(net)
    }

    /// Sizes.
    pub fn config(&self) -> &DinoConfig {
        &self.config
    }

    /// The normalised class token `[B, D]` of `pixels [B, 3, H, W]`, f32: upstream's feature of a picture.
    pub fn embed(&self, pixels: &Tensor) -> Tensor {
        let (mut classes, _) = self.read(pixels);
        classes.pop().expect("at least one block is read")
    }

    /// The normalised class tokens `[B, D]` behind each of the last blocks, and the patches `[B, N, D]` behind the last.
    fn read(&self, pixels: &Tensor) -> (Vec<Tensor>, Tensor) {
        let (b, _, height, width) = pixels.size4().expect("images are [B, C, H, W]");
        let patch = self.config.patch_size;
        let class = self.class_token.expand([b, -1, -1], false);
        let tokens = Tensor::cat(&[class, self.patch_embed.forward(pixels)], 1);
        let mut x = tokens + self.positions_of([height / patch, width / patch]);
        let mut classes = Vec::with_capacity(READ);
        let call = Call::default();
        for index in 0..self.blocks.len() {
            x = self
                .blocks
                .run_one(index, &[&x], &call, |block, x, _| block.forward(&x[0]));
            if index + READ >= self.blocks.len() {
                classes.push(self.norm.forward(&x.select(1, 0)));
            }
        }
        (classes, self.norm.forward(&x).slice(1, 1, None, 1))
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

/// The network with its classifier.
#[derive(Debug)]
pub struct DinoClassifier {
    vision: DinoVision,
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
        let (width, classes) = ((READ as i64 + 1) * config.embed_dim, config.num_classes);
        Ok(Self {
            vision: DinoVision::new(backbone, config)?,
            head: Linear::precise(&Scope::root(head, &[]), width, classes, Init::Zeros),
        })
    }

    /// Sizes.
    pub fn config(&self) -> &DinoConfig {
        self.vision.config()
    }

    /// `pixels [B, 3, H, W]`, normalised as ImageNet, sides multiples of the patch -> logits `[B, classes]`, f32.
    pub fn forward(&self, pixels: &Tensor) -> Tensor {
        let (mut read, patches) = self.vision.read(pixels);
        read.push(patches.mean_dim(&[1i64][..], false, patches.kind()));
        self.head.forward(&Tensor::cat(&read, 1), &Call::default())
    }
}
