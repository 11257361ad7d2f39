//! The emoji world as a source: endless captions with exact ground truth, read by the text tower of a World-CLIP.

use std::path::Path;

use dmdr_config::{Experiment, WorldPreset};
use dmdr_data::{KindShares, PromptStream, Prompts, SceneBatch};
use dmdr_eval::Evaluator;
use dmdr_tensor::{Device, Tensor};
use dmdr_world::{Kind, Prompt, Split, World};

use crate::{TextEncoder, TrainError, world};

/// Prompts of the sheets; nothing else uses this stream.
const SHEET: u64 = 0x5EE7;

/// A world with its text encoder.
#[derive(Debug)]
pub struct Emoji {
    /// The world.
    pub world: World,
    /// The frozen text tower.
    pub text: TextEncoder,
    kinds: KindShares,
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
        let emoji = Self::read_by(key, path, world(preset)?, experiment.seed, device)?;
        Ok(Self {
            kinds: KindShares::new(experiment.kinds.to_array()),
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
            kinds: KindShares::default(),
            seed,
            device,
        })
    }

    /// The metrics of `experiment`, which read the same captions as its text encoder.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    pub fn evaluator(&self, experiment: &Experiment) -> Result<Evaluator, TrainError> {
        let evaluator = Evaluator::load(self.world.clone(), &experiment.assets, self.device)?;
        self.text
            .check_length("assets.world_clip", evaluator.max_tokens())?;
        Ok(evaluator)
    }

    pub(super) fn true_images(&self, prompts: &Prompts, update: u64) -> Tensor {
        let images = SceneBatch::render(&self.world, prompts, self.seed, update);
        images.to_device(self.device) * 2.0 - 1.0
    }

    pub(super) fn training(&self, iteration: u64, count: usize) -> Result<Prompts, TrainError> {
        let stream = PromptStream {
            kinds: self.kinds,
            ..PromptStream::training(&self.world, self.seed)
        };
        Ok(stream.prompts(iteration, count, self.text.max_tokens(), self.device)?)
    }

    pub(super) fn sheet(&self, count: usize) -> Result<Prompts, TrainError> {
        let prompt = |index| self.world.prompt(Split::Validation, SHEET, index);
        self.tokenised((0..count as u64).map(prompt).collect())
    }

    /// Nothing is judged, so the clauses stay empty.
    pub(super) fn described(&self, captions: &[String]) -> Result<Prompts, TrainError> {
        let prompt = |caption: &String| Prompt {
            kind: Kind::SingleObject,
            caption: caption.clone(),
            include: Vec::new(),
            relation: None,
        };
        self.tokenised(captions.iter().map(prompt).collect())
    }

    fn tokenised(&self, prompts: Vec<Prompt>) -> Result<Prompts, TrainError> {
        let max_tokens = self.text.max_tokens();
        Ok(Prompts::new(&self.world, prompts, max_tokens, self.device)?)
    }
}
