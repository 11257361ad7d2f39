//! Where a run's prompts come from, and what stands between them, its networks and images.

mod classes;
mod emoji;
mod published;

use std::{path::Path, rc::Rc};

use dmdr_config::{Experiment, World};
use dmdr_data::Prompts;
use dmdr_eval::Evaluator;
use dmdr_models::{Conditioning, Decoder, Pipeline, Pixels};
use dmdr_tensor::{Device, Runtime, Tensor};

use crate::{Corpus, TrainError, hub};

pub use classes::Classes;
pub use emoji::Emoji;
pub use published::Published;

/// Prompts, their encoding, and the way from predictions to images.
#[derive(Debug)]
pub enum Source {
    /// The emoji world: pixels.
    Emoji(Box<Emoji>),
    /// Prompt files for a published pipeline: latents.
    Published(Box<Published>),
    /// Classes: latents.
    Classes(Classes),
}

impl Source {
    /// What `[world]` of `experiment` names.
    ///
    /// # Errors
    /// An input that is missing, unreadable or does not fit.
    pub fn load(experiment: &Experiment, runtime: Runtime) -> Result<Self, TrainError> {
        let corpus = Corpus::read(experiment)?;
        Self::with_corpus(experiment, corpus.map(Rc::new).as_ref(), runtime)
    }

    /// As [`Self::load`], where the prompt files were read already.
    pub(crate) fn with_corpus(
        experiment: &Experiment,
        corpus: Option<&Rc<Corpus>>,
        runtime: Runtime,
    ) -> Result<Self, TrainError> {
        match &experiment.world {
            World::Preset(preset) => {
                let emoji = Emoji::load(experiment, *preset, runtime.device)?;
                Ok(Self::Emoji(Box::new(emoji)))
            }
            World::Prompts(files) => {
                let folder = hub::folder(&experiment.teacher)?;
                let corpus = corpus.expect("a world of prompt files has them");
                let source = Published::load(experiment, files, corpus, &folder, runtime)?;
                Ok(Self::Published(Box::new(source)))
            }
            World::Classes(_) => Ok(Self::Classes(Classes::load(experiment, runtime.device)?)),
        }
    }

    /// The `count` training prompts of an iteration: a pure function of the run's seed and `iteration`.
    ///
    /// # Errors
    /// A prompt that cannot be read.
    pub fn training(&self, iteration: u64, count: usize) -> Result<Prompts, TrainError> {
        match self {
            Self::Emoji(emoji) => emoji.training(iteration, count),
            Self::Published(published) => published.training(iteration, count),
            Self::Classes(classes) => Ok(classes.training(iteration, count)),
        }
    }

    /// The first `count` prompts of the sample sheets, which are not trained on.
    ///
    /// # Errors
    /// As for [`Self::training`].
    pub fn sheet(&self, count: usize) -> Result<Prompts, TrainError> {
        match self {
            Self::Emoji(emoji) => emoji.sheet(count),
            Self::Published(published) => published.sheet(count),
            Self::Classes(classes) => Ok(classes.sheet(count)),
        }
    }

    /// The first `count` prompts of a periodic evaluation, which are not trained on; all, where there are fewer.
    ///
    /// # Errors
    /// As for [`Self::training`].
    pub(crate) fn validation(&self, count: usize) -> Result<Vec<String>, TrainError> {
        let count = match self {
            Self::Published(published) => count.min(published.corpus().validation.len()),
            Self::Emoji(_) | Self::Classes(_) => count,
        };
        Ok(self.sheet(count)?.captions)
    }

    /// Prompts as someone wrote them.
    ///
    /// # Errors
    /// As for [`Self::training`].
    pub fn described(&self, captions: &[String]) -> Result<Prompts, TrainError> {
        match self {
            Self::Emoji(emoji) => emoji.described(captions),
            Self::Published(_) | Self::Classes(_) => {
                Ok(Prompts::plain(captions.to_vec(), self.device()))
            }
        }
    }

    /// Makes [`Self::encode`] quick for all of `captions`.
    ///
    /// # Errors
    /// If they cannot be encoded.
    pub fn prepare(&self, captions: &[String]) -> Result<(), TrainError> {
        match self {
            Self::Published(published) => published.prepare(captions),
            Self::Emoji(_) | Self::Classes(_) => Ok(()),
        }
    }

    /// What the networks read of `prompts`.
    ///
    /// # Errors
    /// If they cannot be encoded.
    pub fn encode(&self, prompts: &Prompts) -> Result<Conditioning, TrainError> {
        match self {
            Self::Emoji(emoji) => Ok(emoji.text.encode(prompts)),
            Self::Published(published) => published.encode(prompts),
            Self::Classes(classes) => classes.encode(prompts),
        }
    }

    /// Encoding of the empty prompt, one row: the unconditional half of guidance.
    pub fn null(&self) -> &Conditioning {
        match self {
            Self::Emoji(emoji) => emoji.text.null(),
            Self::Published(published) => published.null(),
            Self::Classes(classes) => classes.null(),
        }
    }

    /// What is allowed but probably not meant.
    pub fn warnings(&self, experiment: &Experiment) -> Vec<String> {
        match self {
            Self::Published(published) => published.warnings(&experiment.teacher),
            Self::Classes(classes) => classes.warning().into_iter().collect(),
            Self::Emoji(_) => Vec::new(),
        }
    }

    /// From predictions to images.
    pub fn decoder(&self) -> Rc<dyn Decoder> {
        match self {
            Self::Emoji(_) => Rc::new(Pixels),
            Self::Published(published) => published.decoder(),
            Self::Classes(classes) => classes.decoder(),
        }
    }

    /// True images of `prompts` for an update, `[B, C, H, W]` from -1 to 1, where the truth can be drawn.
    pub(crate) fn true_images(&self, prompts: &Prompts, update: u64) -> Option<Tensor> {
        match self {
            Self::Emoji(emoji) => Some(emoji.true_images(prompts, update)),
            Self::Published(_) | Self::Classes(_) => None,
        }
    }

    /// The metrics of `experiment`.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    pub fn evaluator(&self, experiment: &Experiment) -> Result<Evaluator, TrainError> {
        match self {
            Self::Emoji(emoji) => emoji.evaluator(experiment),
            Self::Published(_) | Self::Classes(_) => Err(TrainError::Incompatible {
                what: "world".to_owned(),
                reason: "this evaluation judges emoji scenes".to_owned(),
            }),
        }
    }

    /// What was read of the prompt files, if there are any.
    pub(crate) fn corpus(&self) -> Option<&Corpus> {
        match self {
            Self::Published(published) => Some(published.corpus()),
            Self::Emoji(_) | Self::Classes(_) => None,
        }
    }

    /// The published pipeline and its folder, if it is one.
    pub(crate) fn pipeline(&self) -> Option<(Pipeline, &Path)> {
        match self {
            Self::Published(published) => Some(published.pipeline()),
            Self::Emoji(_) | Self::Classes(_) => None,
        }
    }

    fn device(&self) -> Device {
        self.null().pooled.device()
    }
}
