//! Where a run's prompts come from, and what stands between them, its networks and images.

mod classes;
mod emoji;
mod published;

use std::{fmt, rc::Rc};

use dmdr_batches::Prompts;
use dmdr_config::{Experiment, RewardModel as RewardConfig, World};
use dmdr_eval::Evaluator;
use dmdr_models::{Conditioning, Decoder, Pipeline};
use dmdr_rewards::RewardModel;
use dmdr_tensor::{Ranks, Runtime, Tensor};

use crate::{Backbone, Corpus, TrainError, hub};

pub use classes::Classes;
pub use emoji::Emoji;
pub use published::Published;

/// Prompts, their encoding, the network that reads it, and the way from its predictions to images. What a world lacks has a
/// default, so that a new world states no more than what it has.
pub trait Source: fmt::Debug {
    /// The `count` training prompts of an iteration for one of `ranks`, every so many of all: a pure function of the run's seed,
    /// `iteration` and the process's number.
    ///
    /// # Errors
    /// A prompt that cannot be read.
    fn training(&self, iteration: u64, count: usize, ranks: Ranks) -> Result<Prompts, TrainError>;

    /// The first `count` prompts of the sample sheets, which are not trained on.
    ///
    /// # Errors
    /// As for [`Self::training`].
    fn sheet(&self, count: usize) -> Result<Prompts, TrainError>;

    /// The first `count` prompts of a periodic evaluation, which are not trained on; all, where there are fewer.
    ///
    /// # Errors
    /// As for [`Self::training`].
    fn validation(&self, count: usize) -> Result<Vec<String>, TrainError> {
        Ok(self.sheet(count)?.captions)
    }

    /// Prompts as someone wrote them.
    ///
    /// # Errors
    /// As for [`Self::training`].
    fn described(&self, captions: &[String]) -> Result<Prompts, TrainError> {
        Ok(Prompts::plain(captions.to_vec()))
    }

    /// Makes [`Self::encode`] quick for all of `captions`.
    ///
    /// # Errors
    /// If they cannot be encoded.
    fn prepare(&self, _captions: &[String]) -> Result<(), TrainError> {
        Ok(())
    }

    /// What the networks read of `prompts`.
    ///
    /// # Errors
    /// If they cannot be encoded.
    fn encode(&self, prompts: &Prompts) -> Result<Conditioning, TrainError>;

    /// Encoding of the empty prompt, one row: the unconditional half of guidance.
    fn null(&self) -> &Conditioning;

    /// The network that `teacher.weights` names, which has to read what [`Self::encode`] makes.
    ///
    /// # Errors
    /// A file that is unreadable or holds another network.
    fn backbone(&self, experiment: &Experiment) -> Result<Backbone, TrainError>;

    /// From predictions to images.
    fn decoder(&self) -> Rc<dyn Decoder>;

    /// True images of `prompts`, which are `rows` of the batch of an iteration: `[B, C, H, W]` from -1 to 1, where the truth can be
    /// drawn.
    fn true_images(&self, _prompts: &Prompts, _rows: &[u64], _iteration: u64) -> Option<Tensor> {
        None
    }

    /// What is allowed but probably not meant.
    fn warnings(&self, _experiment: &Experiment) -> Vec<String> {
        Vec::new()
    }

    /// A reward model that knows this world's truth or reads its captions, which config key `key` and `name` name; none
    /// if it is one of any world.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    fn own_reward(
        &self,
        _key: &str,
        _name: &'static str,
        _model: &RewardConfig,
    ) -> Result<Option<Box<dyn RewardModel>>, TrainError> {
        Ok(None)
    }

    /// The metrics of `experiment` on this world's truth; none where no truth is known.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    fn evaluator(&self, _experiment: &Experiment) -> Result<Option<Evaluator>, TrainError> {
        Ok(None)
    }

    /// What was read of the prompt files, if there are any.
    fn corpus(&self) -> Option<&Corpus> {
        None
    }

    /// The published pipeline, if it is one.
    fn pipeline(&self) -> Option<&dyn Pipeline> {
        None
    }
}

/// What `[world]` of `experiment` names: the one place that decides by it.
///
/// # Errors
/// An input that is missing, unreadable or does not fit.
pub fn open_source(
    experiment: &Experiment,
    runtime: Runtime,
) -> Result<Box<dyn Source>, TrainError> {
    let corpus = Corpus::read(experiment)?;
    source_with(experiment, corpus.map(Rc::new).as_ref(), runtime)
}

/// As [`open_source`], where the prompt files were read already.
pub(crate) fn source_with(
    experiment: &Experiment,
    corpus: Option<&Rc<Corpus>>,
    runtime: Runtime,
) -> Result<Box<dyn Source>, TrainError> {
    Ok(match &experiment.world {
        World::Preset(preset) => Box::new(Emoji::load(experiment, *preset, runtime.device)?),
        World::Prompts(files) => {
            let folder = hub::folder(&experiment.teacher)?;
            let corpus = corpus.expect("a world of prompt files has them");
            let source = Published::load(experiment, files, corpus, &folder, runtime)?;
            Box::new(source)
        }
        World::Classes(_) => Box::new(Classes::load(experiment, runtime)?),
    })
}
