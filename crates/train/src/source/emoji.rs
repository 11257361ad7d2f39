//! The emoji world as a source: endless captions with exact ground truth, read by the text tower of a World-CLIP.

use std::{path::Path, rc::Rc};

use dmdr_batches::{KindSampler, PromptStream, Prompts, SceneBatch};
use dmdr_config::{Experiment, RewardModel as RewardConfig, WorldPreset};
use dmdr_eval::Evaluator;
use dmdr_models::{Conditioning, Decoder, Pixels, open_text_conditional};
use dmdr_rewards::{JudgeReward, RewardModel, WorldClipScore};
use dmdr_tensor::{Device, Ranks, Tensor};
use dmdr_world::{Kind, Prompt, Split, World};

use super::Source;
use crate::{Backbone, TextEncoder, TrainError, assembly::text_encoder::check_widths};

/// Prompts of the sheets; nothing else uses this stream.
const SHEET: u64 = 0x5EE7;

/// A world with its text encoder.
#[derive(Debug)]
pub struct Emoji {
    /// The world.
    pub world: World,
    /// The frozen text tower.
    pub text: TextEncoder,
    kinds: KindSampler,
    seed: u64,
    device: Device,
}

impl Emoji {
    /// The world of `preset`, read as `experiment` says.
    ///
    /// # Errors
    /// A drawing that cannot be rasterised, or a text encoder that is unreadable or of another world.
    pub fn load(
        experiment: &Experiment,
        preset: WorldPreset,
        device: Device,
    ) -> Result<Self, TrainError> {
        let (key, path) = experiment.text_encoder();
        let emoji = Self::read_by(key, path, World::new(preset)?, experiment.seed, device)?;
        Ok(Self {
            kinds: KindSampler::new(experiment.kinds.to_array()),
            ..emoji
        })
    }

    /// `world`, read by the text tower in `path`, which config key `key` names; all kinds of prompts as often.
    ///
    /// # Errors
    /// As for [`TextEncoder::load`].
    pub(crate) fn read_by(
        key: &str,
        path: &Path,
        world: World,
        seed: u64,
        device: Device,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            text: TextEncoder::load(key, path, &world, device)?,
            world,
            kinds: KindSampler::default(),
            seed,
            device,
        })
    }

    fn tokenised(&self, prompts: Vec<Prompt>) -> Result<Prompts, TrainError> {
        let max_tokens = self.text.max_tokens();
        Ok(Prompts::new(&self.world, prompts, max_tokens, self.device)?)
    }
}

impl Source for Emoji {
    fn training(&self, iteration: u64, count: usize, ranks: Ranks) -> Result<Prompts, TrainError> {
        let stream = PromptStream {
            kinds: self.kinds,
            ..PromptStream::training(&self.world, self.seed)
        };
        let whole = count * ranks.count() as usize;
        let prompts = stream.prompts(iteration, whole, self.text.max_tokens(), self.device)?;
        Ok(prompts.every(ranks))
    }

    fn sheet(&self, count: usize) -> Result<Prompts, TrainError> {
        let prompt = |index| self.world.prompt(Split::Validation, SHEET, index);
        self.tokenised((0..count as u64).map(prompt).collect())
    }

    /// Nothing is judged, so the clauses stay empty.
    fn described(&self, captions: &[String]) -> Result<Prompts, TrainError> {
        let prompt = |caption: &String| Prompt {
            kind: Kind::SingleObject,
            caption: caption.clone(),
            include: Vec::new(),
            relation: None,
        };
        self.tokenised(captions.iter().map(prompt).collect())
    }

    /// That all words are known, before anything is drawn.
    fn prepare(&self, captions: &[String]) -> Result<(), TrainError> {
        self.described(captions).map(drop)
    }

    fn encode(&self, prompts: &Prompts) -> Result<Conditioning, TrainError> {
        Ok(self.text.encode(prompts))
    }

    fn null(&self) -> &Conditioning {
        self.text.null()
    }

    fn backbone(&self, experiment: &Experiment) -> Result<Backbone, TrainError> {
        let file = &experiment.teacher.weights;
        let network = open_text_conditional(file)?;
        check_widths("teacher.weights", file, network.text_widths(), &self.text)?;
        let shape = network.image_shape();
        Ok(Backbone::new(network, shape))
    }

    fn decoder(&self) -> Rc<dyn Decoder> {
        Rc::new(Pixels)
    }

    fn true_images(&self, prompts: &Prompts, rows: &[u64], iteration: u64) -> Option<Tensor> {
        let rows = rows.iter().copied();
        let images = SceneBatch::render(&self.world, prompts, rows, self.seed, iteration);
        Some(images.to_device(self.device) * 2.0 - 1.0)
    }

    fn own_reward(
        &self,
        key: &str,
        name: &'static str,
        model: &RewardConfig,
    ) -> Result<Option<Box<dyn RewardModel>>, TrainError> {
        Ok(match model {
            RewardConfig::WorldClip(model) | RewardConfig::Preference(model) => {
                let score = WorldClipScore::load(name, &model.weights, self.device)?;
                let tokens = score.towers().config().text.max_tokens;
                self.text
                    .check_length(&format!("{key}.{name}.weights"), tokens as usize)?;
                Some(Box::new(score))
            }
            RewardConfig::Judge => Some(Box::new(JudgeReward::new(&self.world))),
            _ => None,
        })
    }

    /// They read the same captions as the text encoder.
    fn evaluator(&self, experiment: &Experiment) -> Result<Option<Evaluator>, TrainError> {
        let evaluator = Evaluator::load(self.world.clone(), &experiment.assets, self.device)?;
        self.text
            .check_length("assets.world_clip", evaluator.max_tokens())?;
        Ok(Some(evaluator))
    }
}
