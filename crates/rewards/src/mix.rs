//! Several rewards, each with an annealed weight and its own line in the metrics.

use std::{collections::BTreeMap, rc::Rc};

use dmdr_config::Curve;
use dmdr_data::Prompts;
use dmdr_models::{Decoder, Pixels};
use dmdr_tensor::{Kind, Tensor};

use crate::{RewardError, RewardModel};

/// A weighted sum of rewards on what clean predictions decode to.
pub struct RewardMix {
    decoder: Rc<dyn Decoder>,
    rewards: Vec<(Curve, Box<dyn RewardModel>)>,
}

/// An empty mix on pixels.
impl Default for RewardMix {
    fn default() -> Self {
        Self::new(Rc::new(Pixels))
    }
}

impl std::fmt::Debug for RewardMix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.rewards.iter().map(|(_, reward)| reward.name()))
            .finish()
    }
}

/// What a mix gives for a batch.
#[derive(Debug)]
pub struct Mixed {
    /// Weighted sum, `[B]`.
    pub total: Tensor,
    /// Each reward with its weight, unweighted, `[B]`.
    pub parts: Vec<(f64, Tensor)>,
    /// `reward/<name>/{mean,min,max,std}` of the unweighted rewards over the batch.
    pub observed: BTreeMap<String, f64>,
}

impl RewardMix {
    /// An empty mix on the images of `decoder`.
    pub fn new(decoder: Rc<dyn Decoder>) -> Self {
        Self {
            decoder,
            rewards: Vec::new(),
        }
    }

    /// Adds a reward.
    pub fn push(&mut self, weight: Curve, reward: Box<dyn RewardModel>) {
        self.rewards.push((weight, reward));
    }

    /// The first reward that has no gradient, if any.
    pub fn not_differentiable(&self) -> Option<&str> {
        let (_, reward) = self
            .rewards
            .iter()
            .find(|(_, reward)| !reward.is_differentiable())?;
        Some(reward.name())
    }

    /// Scores the images of the predictions `x0 [B, C, h, w]` with the weights of generator update `step`.
    ///
    /// # Errors
    /// If a reward fails.
    pub fn score(&self, x0: &Tensor, prompts: &Prompts, step: u64) -> Result<Mixed, RewardError> {
        let images = self.decoder.decode(x0);
        let mut total = Tensor::zeros([images.size()[0]], (Kind::Float, images.device()));
        let mut observed = BTreeMap::new();
        let mut parts = Vec::with_capacity(self.rewards.len());
        for (weight, reward) in &self.rewards {
            let score = reward.score(&images, prompts)?;
            let plain = score.detach();
            let name = reward.name();
            for (statistic, value) in [
                ("mean", plain.mean(Kind::Float)),
                ("min", plain.min()),
                ("max", plain.max()),
                ("std", plain.std(false)),
            ] {
                observed.insert(
                    format!("reward/{name}/{statistic}"),
                    value.double_value(&[]),
                );
            }
            let weight = weight.at(step);
            total += &score * weight;
            parts.push((weight, score));
        }
        Ok(Mixed {
            total,
            parts,
            observed,
        })
    }
}

#[cfg(test)]
mod tests {
    use dmdr_data::PromptStream;
    use dmdr_tensor::Device;
    use dmdr_world::{Preset, World};

    use super::*;

    /// Mean brightness of one channel.
    struct Channel(i64);

    impl RewardModel for Channel {
        fn name(&self) -> &str {
            ["red", "green", "blue"][self.0 as usize]
        }

        fn is_differentiable(&self) -> bool {
            true
        }

        fn score(&self, images: &Tensor, _prompts: &Prompts) -> Result<Tensor, RewardError> {
            Ok(images
                .select(1, self.0)
                .mean_dim(&[1i64, 2][..], false, Kind::Float))
        }
    }

    #[test]
    fn weights_are_annealed_and_the_breakdown_is_kept() {
        let world = World::new(Preset::Mini).expect("valid drawings");
        let prompts = PromptStream::training(&world, 0)
            .prompts(0, 2, 16, Device::Cpu)
            .expect("fits");
        let mut mix = RewardMix::default();
        mix.push(Curve::Constant(2.0), Box::new(Channel(0)));
        mix.push(
            Curve::Step {
                from: 0.0,
                to: 1.0,
                at: 5,
            },
            Box::new(Channel(2)),
        );
        let images = Tensor::from_slice(&[0.5f32, 0.0, 0.25, 1.0, 0.0, 0.75]).reshape([2, 3, 1, 1]);
        let at = |step| {
            let mixed = mix
                .score(&(&images * 2.0 - 1.0), &prompts, step)
                .expect("no towers");
            (
                Vec::<f32>::try_from(mixed.total).expect("f32"),
                mixed.observed,
            )
        };
        assert_eq!(at(0).0, [1.0, 2.0]);
        let (total, observed) = at(5);
        assert_eq!(total, [1.25, 2.75]);
        assert!((observed["reward/red/mean"] - 0.75).abs() < 1e-7);
        assert!((observed["reward/blue/max"] - 0.75).abs() < 1e-7);
        assert!((observed["reward/blue/std"] - 0.25).abs() < 1e-7);
        assert_eq!(mix.not_differentiable(), None);
    }
}
