//! Reward models: images and prompts in, one number an image out. Breakdowns are always kept.

mod aesthetic;
mod augmented;
mod captions;
mod clean;
mod clip_similarity;
mod color;
mod dino_class;
mod gaps;
mod hps;
mod image_reward;
mod judge;
mod mix;
mod pick_score;
mod prefixed;
pub mod preprocess;
mod remote_reward;
mod vlm_reward;
mod world_clip_score;

use std::{collections::BTreeMap, path::PathBuf};

use dmdr_batches::Prompts;
use dmdr_models::ModelError;
use dmdr_tensor::{Tensor, TensorError};

pub use aesthetic::Aesthetic;
pub use augmented::Augmented;
pub use clean::open_clip_text;
pub use clip_similarity::{ClipSimilarity, check_clip, clip_preprocess, clip_sizes};
pub use color::{ColorClassifier, Cutout};
pub use dino_class::DinoClass;
pub use gaps::Complaints;
pub use hps::Hps;
pub use image_reward::ImageReward;
pub use judge::JudgeReward;
pub use mix::{Begun, Mixed, RewardMix, WeightedReward};
pub use pick_score::PickScore;
pub use prefixed::Prefixed;
pub use remote_reward::RemoteReward;
pub use vlm_reward::VlmReward;
pub use world_clip_score::WorldClipScore;

/// What a model computes with, by name: checkpoint, preprocessing, length of texts.
pub type Settings = BTreeMap<&'static str, String>;

/// Scores `[B]` that are made elsewhere, or are there already; it waits for them.
pub type Scoring = Box<dyn FnOnce() -> Result<Tensor, RewardError>>;

/// Scores images against their prompts.
pub trait RewardModel {
    /// Name in configs and metrics.
    fn name(&self) -> &str;

    /// Whether `score` can be differentiated with respect to the images; `ReFL` needs it.
    fn is_differentiable(&self) -> bool;

    /// Whether an image may be left without a score, which is NaN then. Of other rewards a NaN is a fault.
    fn may_leave_out(&self) -> bool {
        false
    }

    /// What the scores depend on besides weights, for reports.
    fn describe(&self) -> Settings {
        Settings::new()
    }

    /// `images [B, 3, H, W]` in `[0, 1]` -> `[B]`.
    ///
    /// # Errors
    /// If the model cannot score these prompts.
    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError>;

    /// Begins to score: a model that is elsewhere does so while the caller goes on.
    ///
    /// # Errors
    /// As for [`Self::score`].
    fn begin(&self, images: &Tensor, prompts: &Prompts) -> Result<Scoring, RewardError> {
        let scores = self.score(images, prompts)?;
        Ok(Box::new(move || Ok(scores)))
    }
}

/// Errors of reward models.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewardError {
    /// Weight files.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Tensors.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Towers that read another number of tokens than the prompts have.
    #[error(
        "reward `{name}` reads {expected} tokens a caption; the run's text encoder makes {found}"
    )]
    Tokens {
        /// The reward.
        name: String,
        /// What its text tower takes.
        expected: i64,
        /// What the prompts have.
        found: i64,
    },
    /// A folder whose networks are not those of the checkpoint.
    #[error(
        "`{path}` is not `{checkpoint}`: its `{field}` is {found}, that checkpoint's is {expected}; name the right one"
    )]
    OtherCheckpoint {
        /// The folder's `config.json`.
        path: PathBuf,
        /// What the config says it is.
        checkpoint: &'static str,
        /// What differs.
        field: &'static str,
        /// In the folder.
        found: &'static str,
        /// Of the checkpoint.
        expected: &'static str,
    },
    /// Images that are too small for what is measured.
    #[error("`{name}` needs images of at least {expected} x {expected} pixels; found {found:?}")]
    TooSmall {
        /// The metric.
        name: &'static str,
        /// Least side in pixels.
        expected: i64,
        /// `[B, 3, H, W]`.
        found: Vec<i64>,
    },
    /// A caption that should be the number of a class.
    #[error("reward `{name}`: `{found}` is no class; expected a number below {count}")]
    Class {
        /// The reward.
        name: String,
        /// The caption.
        found: String,
        /// Number of classes.
        count: i64,
    },
    /// A piece of an image that is none.
    #[error("{reason}")]
    Cutout {
        /// What is wrong with it.
        reason: String,
    },
    /// A reward model elsewhere that does not answer, or not as agreed.
    #[error("reward `{name}`: {reason}")]
    Remote {
        /// The reward.
        name: String,
        /// What went wrong.
        reason: String,
    },
    /// Not one caption for each image.
    #[error("reward `{name}` needs one caption an image; there are {found} for {expected}")]
    Captions {
        /// The reward.
        name: String,
        /// Images.
        expected: i64,
        /// Captions.
        found: usize,
    },
}
