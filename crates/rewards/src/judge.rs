//! The emoji world's exact judge as a reward: right or wrong, without gradient.

use dmdr_batches::{Prompts, images_from_tensor};
use dmdr_tensor::{Tensor, no_grad_guard};
use dmdr_world::{Judge, World};

use crate::{RewardError, RewardModel};

/// 1 for an image that shows what its prompt asks for, else 0.
#[derive(Debug)]
pub struct JudgeReward {
    judge: Judge,
}

impl JudgeReward {
    /// The judge of `world`.
    pub fn new(world: &World) -> Self {
        Self {
            judge: Judge::new(world),
        }
    }
}

impl RewardModel for JudgeReward {
    fn name(&self) -> &'static str {
        "judge"
    }

    fn is_differentiable(&self) -> bool {
        false
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        let _guard = no_grad_guard();
        let scores: Vec<f32> = images_from_tensor(images)
            .iter()
            .zip(&prompts.scenes().prompts)
            .map(|(image, prompt)| f32::from(self.judge.verdict(image, prompt).correct))
            .collect();
        Ok(Tensor::from_slice(&scores).to_device(images.device()))
    }
}

#[cfg(test)]
mod tests {
    use dmdr_batches::PromptStream;
    use dmdr_config::WorldPreset;
    use dmdr_tensor::Device;

    use super::*;

    #[test]
    fn true_scenes_are_right_and_exchanged_ones_wrong() {
        let world = World::new(WorldPreset::Mini).expect("valid drawings");
        let batch = PromptStream::training(&world, 0)
            .scenes(0, 6, 16, Device::Cpu)
            .expect("fits");
        let reward = JudgeReward::new(&world);
        let score = |images: &Tensor| {
            let scores = reward.score(images, &batch.prompts).expect("scored");
            Vec::<f32>::try_from(scores).expect("f32")
        };
        assert_eq!(score(&batch.images), [1.0; 6]);
        assert_eq!(score(&batch.images.roll([1], [0])), [0.0; 6]);
    }
}
