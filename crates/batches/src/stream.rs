//! The endless prompts and scenes of a run.

use dmdr_tensor::Device;
use dmdr_world::{Prompt, Split, World};

use crate::{BatchError, KindSampler, Prompts, SceneBatch};

/// An endless sequence of prompts of one split, read in batches; a batch is a pure function of (seed, iteration).
#[derive(Debug, Clone)]
pub struct PromptStream<'a> {
    /// Where prompts come from.
    pub world: &'a World,
    /// Which of them.
    pub split: Split,
    /// How often each kind.
    pub kinds: KindSampler,
    /// Which sequence.
    pub seed: u64,
}

impl<'a> PromptStream<'a> {
    /// Training prompts, each kind as often as any other.
    pub fn training(world: &'a World, seed: u64) -> Self {
        Self {
            world,
            split: Split::Train,
            kinds: KindSampler::default(),
            seed,
        }
    }

    /// The `count` prompts of `iteration`, with ids `[count, max_tokens]`.
    ///
    /// # Errors
    /// As for [`Prompts::new`].
    pub fn prompts(
        &self,
        iteration: u64,
        count: usize,
        max_tokens: usize,
        device: Device,
    ) -> Result<Prompts, BatchError> {
        let first = iteration * count as u64;
        let prompts = (first..first + count as u64)
            .map(|index| self.prompt(index))
            .collect();
        Prompts::new(self.world, prompts, max_tokens, device)
    }

    /// The prompts of `iteration` with a scene each.
    ///
    /// # Errors
    /// As for [`Prompts::new`].
    pub fn scenes(
        &self,
        iteration: u64,
        count: usize,
        max_tokens: usize,
        device: Device,
    ) -> Result<SceneBatch, BatchError> {
        let prompts = self.prompts(iteration, count, max_tokens, device)?;
        let images =
            SceneBatch::render(self.world, &prompts, 0.., self.seed, iteration).to_device(device);
        Ok(SceneBatch { images, prompts })
    }

    fn prompt(&self, index: u64) -> Prompt {
        let kind = self.kinds.kind(index);
        self.world.prompt_of(kind, self.split, self.seed, index)
    }
}

#[cfg(test)]
mod tests {
    use dmdr_config::WorldPreset;
    use dmdr_tensor::Tensor;
    use dmdr_world::Kind;

    use super::*;

    #[test]
    fn batches_are_a_pure_function_of_seed_and_iteration() {
        let world = World::new(WorldPreset::Mini).expect("valid drawings");
        let stream = PromptStream::training(&world, 1);
        let draw = |iteration| stream.scenes(iteration, 3, 16, Device::Cpu).expect("fits");
        let (batch, again) = (draw(4), draw(4));
        assert_eq!(batch.images.size(), [3, 3, 32, 32]);
        assert_eq!(batch.images, again.images);
        assert!(!Tensor::equal(&batch.images, &draw(5).images));
    }

    #[test]
    fn kinds_come_as_often_as_asked() {
        let world = World::new(WorldPreset::Mini).expect("valid drawings");
        let mut shares = [0.0; Kind::ALL.len()];
        shares[Kind::Colors as usize] = 1.0;
        let stream = PromptStream {
            kinds: KindSampler::new(shares),
            ..PromptStream::training(&world, 0)
        };
        let prompts = stream.prompts(3, 8, 16, Device::Cpu).expect("fits");
        let mut prompts = prompts.scenes().prompts.iter();
        assert!(prompts.all(|prompt| prompt.kind == Kind::Colors));
    }
}
