//! `[fidelity]` and `[diversity]` of a table: metrics of sets of images.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::range;
use crate::reward::ClipCheckpoint;

/// How near the generated images are, as a set, to true pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fidelity {
    /// A folder of PNG and JPEG files, at any depth.
    pub reference: PathBuf,
    /// Whose features are compared; the columns carry its name.
    pub encoder: FidelityEncoder,
}

/// A network whose features are compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FidelityEncoder {
    /// FID's Inception: FID, sFID, precision and recall.
    Inception {
        /// `pt_inception-2015-12-05-6726825d.pth`, converted to safetensors.
        weights: PathBuf,
    },
    /// An image tower of CLIP.
    Clip {
        /// Which one.
        checkpoint: ClipCheckpoint,
        /// The pair's folder, as transformers saves it.
        tower: PathBuf,
    },
    /// DINOv2.
    Dino {
        /// The backbone, a safetensors file.
        tower: PathBuf,
    },
}

impl Fidelity {
    /// Files and folders, with the keys that name them.
    pub fn files(&self) -> [(&'static str, &Path); 2] {
        let encoder: (_, &Path) = match &self.encoder {
            FidelityEncoder::Inception { weights } => ("encoder.inception.weights", weights),
            FidelityEncoder::Clip { tower, .. } => ("encoder.clip.tower", tower),
            FidelityEncoder::Dino { tower } => ("encoder.dino.tower", tower),
        };
        [encoder, ("reference", &self.reference)]
    }
}

/// How far apart the images of a prompt are: mean LPIPS over its pairs of seeds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Diversity {
    /// Whose features LPIPS compares.
    pub trunk: LpipsTrunk,
    /// torchvision's weights of the trunk, a safetensors file.
    pub features: PathBuf,
    /// The package `lpips`'s weights on top, a safetensors file.
    pub linear: PathBuf,
    /// Side in pixels that images are resized to, antialiased: LPIPS depends on it.
    #[serde(default = "default_size", deserialize_with = "range::lpips_side")]
    pub size: usize,
}

fn default_size() -> usize {
    256
}

/// A trunk of LPIPS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LpipsTrunk {
    /// torchvision's `alexnet`: the package's choice for reporting distances.
    Alex,
    /// torchvision's `vgg16`: the choice for losses.
    Vgg,
}

impl LpipsTrunk {
    /// As in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alex => "alex",
            Self::Vgg => "vgg",
        }
    }
}

impl Diversity {
    /// Files, with the keys that name them.
    pub fn files(&self) -> [(&'static str, &Path); 2] {
        [("features", &self.features), ("linear", &self.linear)]
    }
}

/// A number of pixels that rises when a student games its reward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Detector {
    /// Mean over pixels of the largest minus the smallest channel.
    Saturation,
    /// Share of the power at periods of at most 4 pixels.
    HighFrequency,
    /// Decibels of the power at periods of 8 and 16 pixels above that around them.
    Grid,
}

impl Detector {
    /// As in the file, and the name of the column.
    pub fn name(self) -> &'static str {
        match self {
            Self::Saturation => "saturation",
            Self::HighFrequency => "high_frequency",
            Self::Grid => "grid",
        }
    }
}
