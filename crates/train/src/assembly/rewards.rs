//! The reward models that a config names.

use dmdr_config::{Experiment, RewardModel as RewardConfig};
use dmdr_rewards::{
    Aesthetic, Augmented, ClipSimilarity, Complaints, DinoClass, Hps, ImageReward, PickScore,
    Prefixed, RemoteReward, RewardMix, RewardModel, VlmReward, WeightedReward,
};
use dmdr_tensor::Runtime;

use crate::{Source, TrainError};

/// The mix that `[[rewards]]` of `experiment` names, on what `source` decodes. Pictures that a judge elsewhere gives no
/// score are left out and told of in `complaints`.
///
/// # Errors
/// Files that cannot be read or do not fit.
pub(crate) fn rewards(
    experiment: &Experiment,
    source: &dyn Source,
    runtime: Runtime,
    complaints: &Complaints,
) -> Result<RewardMix, TrainError> {
    let mut mix = RewardMix::new(source.decoder());
    for (index, reward) in experiment.rewards.iter().enumerate() {
        let name = reward.model.name();
        let key = format!("rewards.{index}.model");
        let model = match source.own_reward(&key, name, &reward.model)? {
            Some(model) => model,
            None => reward_model(name, &reward.model, runtime, Some(complaints))?,
        };
        let model = match &reward.prefix {
            None => model,
            Some(prefix) => Box::new(Prefixed::new(model, prefix.clone())),
        };
        let model = match reward.augmentations {
            0 => model,
            copies => Box::new(Augmented::new(model, copies)),
        };
        mix.push_weighted(WeightedReward {
            weight: reward.weight,
            hinge: reward.hinge,
            model,
        });
    }
    Ok(mix)
}

/// A reward model of the field. Pictures that a judge elsewhere gives no score are told of in `complaints`, or are errors.
///
/// # Panics
/// For one of the emoji world: the config has been checked.
pub(crate) fn reward_model(
    name: &str,
    model: &RewardConfig,
    runtime: Runtime,
    complaints: Option<&Complaints>,
) -> Result<Box<dyn RewardModel>, TrainError> {
    Ok(match model {
        RewardConfig::Clip(clip) => {
            let checkpoint = clip.checkpoint;
            let (weights, tokenizer) = (&clip.weights, &clip.tokenizer);
            let score = ClipSimilarity::load(name, checkpoint, weights, tokenizer, runtime)?;
            Box::new(score)
        }
        RewardConfig::Hps(files) => {
            Box::new(Hps::load(name, &files.weights, &files.tokenizer, runtime)?)
        }
        RewardConfig::PickScore(files) => {
            let score = PickScore::load(name, &files.weights, &files.tokenizer, runtime)?;
            Box::new(score)
        }
        RewardConfig::ImageReward(files) => {
            let score = ImageReward::load(name, &files.weights, &files.tokenizer, runtime)?;
            Box::new(score)
        }
        RewardConfig::Aesthetic(files) => {
            Box::new(Aesthetic::load(name, &files.tower, &files.head, runtime)?)
        }
        RewardConfig::Dino(files) => {
            Box::new(DinoClass::load(name, &files.tower, &files.head, runtime)?)
        }
        RewardConfig::Remote(server) => Box::new(RemoteReward::new(server, complaints)?),
        RewardConfig::Vlm(judge) => Box::new(VlmReward::new(judge, complaints)?),
        RewardConfig::WorldClip(_) | RewardConfig::Preference(_) | RewardConfig::Judge => {
            unreachable!("a reward of the emoji world on another one")
        }
    })
}
