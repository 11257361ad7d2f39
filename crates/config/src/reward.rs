//! `[[rewards]]`: the weighted mix of reward models the student is trained on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::curve::Curve;
use crate::{defaults, range};

/// One reward of the mix.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reward {
    /// Weight in the mix over generator updates.
    #[serde(
        default = "defaults::reward_weight",
        deserialize_with = "range::non_negative_curve"
    )]
    pub weight: Curve,
    /// Copies of each image, shifted, scaled, blurred and noised at random, whose mean score is the reward: harder to
    /// fool. 0 = the image itself.
    #[serde(default)]
    pub augmentations: usize,
    /// The model that scores an image and its prompt.
    pub model: RewardModel,
}

/// A reward model by kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RewardModel {
    /// Text alignment: cosine of the emoji world's CLIP.
    WorldClip(RewardWeights),
    /// Human-like preference, trained on ranked pairs.
    Preference(RewardWeights),
    /// The world's exact judge: 1 if the image shows what the prompt asks for, else 0. Without gradient.
    Judge,
}

/// Where the weights of a reward model are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewardWeights {
    /// A safetensors file.
    pub weights: PathBuf,
}

impl RewardModel {
    /// Name of the kind as in the file.
    pub fn name(&self) -> &'static str {
        match self {
            Self::WorldClip(_) => "world_clip",
            Self::Preference(_) => "preference",
            Self::Judge => "judge",
        }
    }

    /// The safetensors file of the model, if it has one.
    pub fn weights(&self) -> Option<&Path> {
        match self {
            Self::WorldClip(model) | Self::Preference(model) => Some(&model.weights),
            Self::Judge => None,
        }
    }

    /// Whether it belongs to the emoji world.
    pub fn is_emoji(&self) -> bool {
        match self {
            Self::WorldClip(_) | Self::Preference(_) | Self::Judge => true,
        }
    }

    /// Whether it can be differentiated with respect to the image.
    pub fn is_differentiable(&self) -> bool {
        match self {
            Self::WorldClip(_) | Self::Preference(_) => true,
            Self::Judge => false,
        }
    }
}
