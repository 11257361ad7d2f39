//! Numbers of pixels as columns of a table beside reward models.

use dmdr_batches::Prompts;
use dmdr_config::Detector;
use dmdr_rewards::{RewardError, RewardModel};
use dmdr_tensor::Tensor;

use crate::texture;

/// A number of an image that betrays a gamed reward, whatever its caption.
#[derive(Debug)]
pub struct PixelMetric(pub Detector);

impl RewardModel for PixelMetric {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    fn score(&self, images: &Tensor, _prompts: &Prompts) -> Result<Tensor, RewardError> {
        let size = images.size();
        if self.0 == Detector::Grid && size[2..].iter().any(|side| *side < texture::GRID_SIDE) {
            return Err(RewardError::TooSmall {
                name: self.0.name(),
                expected: texture::GRID_SIDE,
                found: size,
            });
        }
        Ok(match self.0 {
            Detector::Saturation => texture::saturation(images),
            Detector::HighFrequency => texture::high_frequency(images),
            Detector::Grid => texture::grid(images),
        })
    }
}
