//! A reward that is harder to fool: it looks at the image several times, each time a little different.

use dmdr_data::{Prompts, augment};
use dmdr_tensor::Tensor;

use crate::{RewardError, RewardModel};

/// The mean score of several copies of an image, each shifted, scaled, blurred and noised at random. What pleases a
/// network only in one exact arrangement of pixels does not survive this; the idea is CLIP guidance's cutouts.
pub struct Augmented {
    inner: Box<dyn RewardModel>,
    copies: usize,
}

impl Augmented {
    /// `inner` on `copies` copies of each image, at least one.
    pub fn new(inner: Box<dyn RewardModel>, copies: usize) -> Self {
        assert!(copies > 0, "at least one copy");
        Self { inner, copies }
    }
}

impl RewardModel for Augmented {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn is_differentiable(&self) -> bool {
        self.inner.is_differentiable()
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        let copy = || augment::mild(&augment::jitter(images, 2.0));
        let mut total = self.inner.score(&copy(), prompts)?;
        for _ in 1..self.copies {
            total += self.inner.score(&copy(), prompts)?;
        }
        Ok(total / self.copies as f64)
    }
}
