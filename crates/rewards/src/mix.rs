//! Several rewards, each with an annealed weight and its own line in the metrics.

use std::rc::Rc;

use dmdr_batches::Prompts;
use dmdr_config::Curve;
use dmdr_models::{Decoder, Pixels};
use dmdr_tensor::{Kind, Numbers, Tensor, phantom, phase};

use crate::{RewardError, RewardModel, Scoring};

/// A weighted sum of rewards on what clean predictions decode to.
pub struct RewardMix {
    decoder: Rc<dyn Decoder>,
    rewards: Vec<WeightedReward>,
}

/// A reward of a mix and what it counts there.
pub struct WeightedReward {
    /// Over student updates.
    pub weight: Curve,
    /// The score above which it no longer counts: `-relu(hinge - score)` takes its place. DMDR's published scripts have 0.7
    /// for cosines (`train_t2i/sd3/train_sd3_refl_deepspeed.py:623` at commit ee68d48^ of github.com/vvvvvjdy/dmdr).
    pub hinge: Option<f64>,
    /// What scores an image and its prompt.
    pub model: Box<dyn RewardModel>,
}

impl WeightedReward {
    /// What is maximised, `[B]`, of the scores `[B]`.
    fn counted(&self, score: &Tensor) -> Tensor {
        match self.hinge {
            None => score.shallow_clone(),
            // `relu`, which a device without memory does not have (`dmdr doctor`).
            Some(hinge) => -(hinge - score).clamp_min(0.0),
        }
    }
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
            .entries(self.rewards.iter().map(|reward| reward.model.name()))
            .finish()
    }
}

/// What a mix gives for a batch.
#[derive(Debug)]
pub struct Mixed {
    /// Weighted sum of what rewards count, `[B]`.
    pub total: Tensor,
    /// What each reward counts, unweighted, `[B]`, with its weight.
    pub parts: Vec<(f64, Tensor)>,
    /// 1 for images with all scores, 0 for those that a reward left out (`[B]`, f32); none where every image has all. What
    /// one that is left out counts is 0.
    pub present: Option<Tensor>,
    /// `reward/<name>/{mean,min,max,std}` of the scores themselves over the batch, without weight and hinge, and
    /// `reward/<name>/missing` where images were left out: their number.
    pub numbers: Numbers,
}

/// Scores that are being made.
pub struct Begun {
    /// `[B]`.
    zeros: Tensor,
    /// Of the rewards, in order.
    scorings: Vec<Scoring>,
    update: u64,
}

impl std::fmt::Debug for Begun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Begun").finish_non_exhaustive()
    }
}

impl RewardMix {
    /// An empty mix on the images of `decoder`.
    pub fn new(decoder: Rc<dyn Decoder>) -> Self {
        Self {
            decoder,
            rewards: Vec::new(),
        }
    }

    /// Adds a reward that counts everywhere.
    pub fn push(&mut self, weight: Curve, model: Box<dyn RewardModel>) {
        let hinge = None;
        self.rewards.push(WeightedReward {
            weight,
            hinge,
            model,
        });
    }

    /// Adds a reward.
    pub fn push_weighted(&mut self, reward: WeightedReward) {
        self.rewards.push(reward);
    }

    /// What the reward at `place` is called in metrics: its name, with a number where an earlier one has that name.
    fn label(&self, place: usize) -> String {
        let name = self.rewards[place].model.name();
        let earlier = &self.rewards[..place];
        match earlier
            .iter()
            .filter(|one| one.model.name() == name)
            .count()
        {
            0 => name.to_owned(),
            count => format!("{name}_{}", count + 1),
        }
    }

    /// Whether one of them may leave images out.
    pub fn may_leave_out(&self) -> bool {
        let mut models = self.rewards.iter().map(|reward| &reward.model);
        models.any(|model| model.may_leave_out())
    }

    /// The first reward that has no gradient, if any.
    pub fn not_differentiable(&self) -> Option<&str> {
        let mut models = self.rewards.iter().map(|reward| &reward.model);
        Some(models.find(|model| !model.is_differentiable())?.name())
    }

    /// Scores the images of the predictions `x0 [B, C, h, w]` with the weights of student update `update`.
    ///
    /// # Errors
    /// If a reward fails.
    pub fn score(&self, x0: &Tensor, prompts: &Prompts, update: u64) -> Result<Mixed, RewardError> {
        self.finish(self.begin(x0, prompts, update)?)
    }

    /// Begins to: rewards that are elsewhere score while the caller goes on. [`Self::finish`] gives what [`Self::score`] would.
    ///
    /// # Errors
    /// If a reward fails.
    pub fn begin(&self, x0: &Tensor, prompts: &Prompts, update: u64) -> Result<Begun, RewardError> {
        let images = phase("decode", || self.decoder.decode(x0));
        let begin = |reward: &WeightedReward| reward.model.begin(&images, prompts);
        let scorings = phase("reward", || {
            self.rewards.iter().map(begin).collect::<Result<_, _>>()
        })?;
        Ok(Begun {
            zeros: Tensor::zeros([images.size()[0]], (Kind::Float, images.device())),
            scorings,
            update,
        })
    }

    /// Waits for the scores of what was begun.
    ///
    /// # Errors
    /// If a reward fails.
    pub fn finish(&self, begun: Begun) -> Result<Mixed, RewardError> {
        let mut total = begun.zeros;
        let mut numbers = Numbers::default();
        let mut parts = Vec::with_capacity(self.rewards.len());
        let mut present = None::<Tensor>;
        for (place, (reward, scoring)) in self.rewards.iter().zip(begun.scorings).enumerate() {
            let (weight, name) = (reward.weight.at(begun.update), &self.label(place));
            let score = phase("reward", scoring)?;
            let mut counted = reward.counted(&score);
            let mut plain = score.detach();
            if let Some((there, num_missing)) = left_out(reward.model.as_ref(), &plain) {
                numbers.count_if_any(format!("reward/{name}/missing"), &num_missing);
                if num_missing.double_value(&[]) > 0.0 {
                    plain = plain.masked_select(&there);
                    counted = counted.where_self(&there, &counted.zeros_like());
                    // A reward that weighs nothing leaves nothing out.
                    if weight != 0.0 {
                        let there = there.to_kind(Kind::Float);
                        present =
                            Some(present.map_or_else(|| there.copy(), |other| other * &there));
                    }
                }
            }
            numbers.describe(format!("reward/{name}"), &plain);
            total += &counted * weight;
            parts.push((weight, counted));
        }
        Ok(Mixed {
            total,
            parts,
            present,
            numbers,
        })
    }
}

/// Which of a reward's `scores [B]` are there, and how many are not; none if that cannot be. A rehearsal has all.
fn left_out(reward: &dyn RewardModel, scores: &Tensor) -> Option<(Tensor, Tensor)> {
    if !reward.may_leave_out() || phantom::is_phantom(scores.device()) {
        return None;
    }
    let missing = scores.isnan();
    Some((missing.logical_not(), missing.sum(Kind::Float)))
}

#[cfg(test)]
mod tests {
    use dmdr_batches::PromptStream;
    use dmdr_config::WorldPreset;
    use dmdr_tensor::Device;
    use dmdr_world::World;

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

    /// The red channel, where it is not black.
    struct Picky;

    impl RewardModel for Picky {
        fn name(&self) -> &'static str {
            "picky"
        }

        fn is_differentiable(&self) -> bool {
            false
        }

        fn may_leave_out(&self) -> bool {
            true
        }

        fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
            let red = Channel(0).score(images, prompts)?;
            Ok(red.where_self(&red.gt(0.0), &(red.ones_like() * f64::NAN)))
        }
    }

    #[test]
    fn an_image_without_a_score_is_left_out_and_counted() {
        let world = World::new(WorldPreset::Mini).expect("valid drawings");
        let prompts = PromptStream::training(&world, 0)
            .prompts(0, 3, 16, Device::Cpu)
            .expect("fits");
        let red = |values: [f32; 3]| {
            let images = Tensor::zeros([3, 3, 1, 1], (Kind::Float, Device::Cpu));
            let values = Tensor::from_slice(&values).reshape([3, 1, 1]);
            images.select(1, 0).copy_(&values);
            images * 2.0 - 1.0
        };
        let score = |weight: f64, images: &Tensor| {
            let mut mix = RewardMix::default();
            mix.push(Curve::Constant(1.0), Box::new(Channel(0)));
            mix.push(Curve::Constant(weight), Box::new(Picky));
            mix.score(images, &prompts, 0).expect("no towers")
        };
        let list = |tensor: &Tensor| Vec::<f32>::try_from(tensor).expect("f32");
        let some = score(2.0, &red([0.5, 0.0, 1.0]));
        assert_eq!(list(&some.total), [1.5, 0.0, 3.0]);
        assert_eq!(
            list(&some.present.expect("one is missing")),
            [1.0, 0.0, 1.0]
        );
        let numbers = some.numbers.read();
        assert!((numbers["reward/picky/missing"] - 1.0).abs() < 1e-9);
        assert!((numbers["reward/picky/mean"] - 0.75).abs() < 1e-7);
        assert!((numbers["reward/red/mean"] - 0.5).abs() < 1e-7);
        let none = score(2.0, &red([0.0; 3]));
        assert_eq!(list(&none.present.expect("all are missing")), [0.0; 3]);
        assert!(!none.numbers.read().contains_key("reward/picky/mean"));
        let all = score(2.0, &red([0.5, 0.25, 1.0]));
        assert!(all.present.is_none());
        assert!(!all.numbers.read().contains_key("reward/picky/missing"));
        assert!(
            score(0.0, &red([0.0; 3])).present.is_none(),
            "it weighs nothing"
        );
    }

    #[test]
    fn rewards_of_one_name_have_metrics_of_their_own() {
        let mut mix = RewardMix::default();
        for _ in 0..2 {
            mix.push(Curve::Constant(1.0), Box::new(Picky));
        }
        mix.push(Curve::Constant(1.0), Box::new(Channel(2)));
        assert_eq!(
            [0, 1, 2].map(|place| mix.label(place)),
            ["picky", "picky_2", "blue"]
        );
    }

    #[test]
    fn weights_are_annealed_and_the_breakdown_is_kept() {
        let world = World::new(WorldPreset::Mini).expect("valid drawings");
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
                mixed.numbers.read(),
            )
        };
        assert_eq!(at(0).0, [1.0, 2.0]);
        let (total, numbers) = at(5);
        assert_eq!(total, [1.25, 2.75]);
        assert!((numbers["reward/red/mean"] - 0.75).abs() < 1e-7);
        assert!((numbers["reward/blue/max"] - 0.75).abs() < 1e-7);
        assert!((numbers["reward/blue/std"] - 0.25).abs() < 1e-7);
        assert_eq!(mix.not_differentiable(), None);
    }

    #[test]
    fn a_hinge_is_the_published_loss_and_metrics_show_the_score() {
        let mut mix = RewardMix::default();
        mix.push_weighted(WeightedReward {
            weight: Curve::Constant(0.3),
            hinge: Some(0.7),
            model: Box::new(Channel(0)),
        });
        // Red is .5, .9 and .7: below, above and at the hinge.
        let x0 = Tensor::from_slice(&[0.0f32, 0.8, 0.4]).reshape([3, 1, 1, 1]);
        let x0 = x0.repeat([1, 3, 1, 1]).set_requires_grad(true);
        let prompts = Prompts::plain(vec![String::new(); 3]);
        let mixed = mix.score(&x0, &prompts, 0).expect("no towers");
        // The loss of theirs: weight * mean relu(.7 - score).
        let loss = -mixed.total.mean(Kind::Float);
        assert!(
            (loss.double_value(&[]) - 0.3 * 0.2 / 3.0).abs() < 1e-6,
            "{loss:?}"
        );
        let gradient = &Tensor::run_backward(&[loss], &[&x0], false, false)[0];
        // A pixel is half of x0 plus a half; of the mean of three, below the hinge alone.
        let expected = [-0.3 / 3.0 / 2.0, 0.0];
        for (image, expected) in expected.into_iter().enumerate() {
            let got = gradient.double_value(&[image as i64, 0, 0, 0]);
            assert!((got - expected).abs() < 1e-7, "{image}: {got}");
        }
        let (weight, counted) = &mixed.parts[0];
        assert!((weight - 0.3).abs() < 1e-12);
        assert!((counted.double_value(&[0]) + 0.2).abs() < 1e-6);
        assert!(counted.double_value(&[1]).abs() < 1e-7);
        let numbers = mixed.numbers.read();
        assert!((numbers["reward/red/mean"] - 0.7).abs() < 1e-6);
        assert!((numbers["reward/red/max"] - 0.9).abs() < 1e-6);
    }
}
