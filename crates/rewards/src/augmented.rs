//! A reward that is harder to fool: it looks at the image several times, each time a little different.

use dmdr_batches::{Prompts, augment};
use dmdr_tensor::Tensor;

use crate::{RewardError, RewardModel, Settings};

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

    fn may_leave_out(&self) -> bool {
        self.inner.may_leave_out()
    }

    fn describe(&self) -> Settings {
        let mut settings = self.inner.describe();
        settings.insert("augmentations", self.copies.to_string());
        settings
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

#[cfg(test)]
mod tests {
    use dmdr_batches::PromptStream;
    use dmdr_config::WorldPreset;
    use dmdr_tensor::{Device, Kind, reseed};
    use dmdr_world::World;

    use super::*;

    /// A number of the image's pixels, `[B]`; with a gradient or not.
    struct Of(fn(&Tensor) -> Tensor, bool);

    impl RewardModel for Of {
        fn name(&self) -> &'static str {
            "pixels"
        }

        fn is_differentiable(&self) -> bool {
            self.1
        }

        fn score(&self, images: &Tensor, _: &Prompts) -> Result<Tensor, RewardError> {
            Ok(self.0(images))
        }
    }

    /// What one arrangement of pixels fools.
    const PIXEL: Of = Of(
        |images| images.select(1, 0).select(1, 16).select(1, 16),
        true,
    );
    /// What it does not.
    const MEAN: Of = Of(
        |images| images.mean_dim(&[1i64, 2, 3][..], false, Kind::Float),
        false,
    );

    fn prompts(count: usize) -> Prompts {
        let world = World::new(WorldPreset::Mini).expect("valid drawings");
        PromptStream::training(&world, 0)
            .prompts(0, count, 16, Device::Cpu)
            .expect("fits")
    }

    #[test]
    fn one_bright_pixel_fools_the_reward_but_not_its_copies() {
        reseed(&[1]);
        let prompts = prompts(4);
        let images = Tensor::zeros([4, 3, 32, 32], (Kind::Float, Device::Cpu));
        let _ = images.narrow(2, 16, 1).narrow(3, 16, 1).fill_(1.0);
        let score = |reward: &dyn RewardModel| {
            let score = reward.score(&images, &prompts).expect("no towers");
            score.mean(Kind::Float).double_value(&[])
        };
        assert!((score(&PIXEL) - 1.0).abs() < 1e-6);
        let robust = Augmented::new(Box::new(PIXEL), 8);
        assert!(score(&robust) < 0.4, "{}", score(&robust));
        assert!((robust.name(), robust.is_differentiable()) == ("pixels", true));
        // What does not hang on the arrangement stays nearly what it was.
        let mean = Augmented::new(Box::new(MEAN), 8);
        assert!((score(&mean) - score(&MEAN)).abs() < 0.03);
        assert!(!mean.is_differentiable());
    }

    #[test]
    fn the_gradient_reaches_the_image() {
        reseed(&[2]);
        let prompts = prompts(2);
        let images = Tensor::full([2, 3, 32, 32], 0.5, (Kind::Float, Device::Cpu));
        let images = images.set_requires_grad(true);
        let robust = Augmented::new(Box::new(PIXEL), 2);
        let total = robust
            .score(&images, &prompts)
            .expect("no towers")
            .sum(Kind::Float);
        let gradients = Tensor::run_backward(&[total], &[&images], false, false);
        // Spread over neighbours, and as large in sum as that of the image itself.
        let gradient = gradients[0].select(1, 0);
        assert!(gradient.count_nonzero(None).int64_value(&[]) > 4);
        assert!((gradient.sum(Kind::Float).double_value(&[]) - 2.0).abs() < 0.2);
    }
}
