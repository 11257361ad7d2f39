//! Numbers of pixels as columns of a table beside reward models.

use dmdr_data::Prompts;
use dmdr_rewards::{RewardError, RewardModel};
use dmdr_tensor::Tensor;

use crate::texture;

/// A number of an image that betrays a gamed reward, whatever its caption.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detector {
    /// [`crate::saturation`].
    Saturation,
    /// [`crate::high_frequency`].
    HighFrequency,
    /// [`crate::grid`].
    Grid,
}

impl RewardModel for Detector {
    fn name(&self) -> &'static str {
        match self {
            Self::Saturation => "saturation",
            Self::HighFrequency => "high_frequency",
            Self::Grid => "grid",
        }
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    fn score(&self, images: &Tensor, _prompts: &Prompts) -> Result<Tensor, RewardError> {
        let size = images.size();
        if *self == Self::Grid && size[2..].iter().any(|side| *side < texture::GRID_SIDE) {
            return Err(RewardError::TooSmall {
                name: "grid",
                expected: texture::GRID_SIDE,
                found: size,
            });
        }
        Ok(match self {
            Self::Saturation => texture::saturation(images),
            Self::HighFrequency => texture::high_frequency(images),
            Self::Grid => texture::grid(images),
        })
    }
}
