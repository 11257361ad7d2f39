//! What can go wrong while evaluating.

use std::path::PathBuf;

use dmdr_batches::BatchError;
use dmdr_events::EventsError;
use dmdr_image::ImageError;
use dmdr_models::ModelError;
use dmdr_rewards::RewardError;
use dmdr_world::WorldError;

use crate::manifold::LEAST_IMAGES;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// The sampler's own error.
    #[error("sampler `{name}` failed")]
    Sampler {
        /// [`crate::Sampler::name`].
        name: String,
        /// Cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Images of another shape than asked for.
    #[error("sampler `{name}` made images of shape {found:?}; expected {expected}")]
    ImageShape {
        /// [`crate::Sampler::name`].
        name: String,
        /// `[B, 3, H, W]`.
        expected: String,
        /// What came.
        found: Vec<i64>,
    },
    /// Pixels that are NaN or infinite: a broken generator must not get a score.
    #[error("sampler `{name}` made pixels that are not finite (seed {seed}, prompts from {first})")]
    NotFinite {
        /// [`crate::Sampler::name`].
        name: String,
        /// Seed of the noise.
        seed: u64,
        /// First prompt of the batch.
        first: usize,
    },
    /// A metric that gives no number.
    #[error(
        "metric `{metric}` gave {score} for prompt {prompt}; its model or what it read is broken"
    )]
    Score {
        /// The metric.
        metric: String,
        /// What it gave.
        score: f64,
        /// Place of the prompt.
        prompt: usize,
    },
    /// A folder of pictures that cannot be listed.
    #[error("cannot list the pictures in `{folder}`: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A folder of pictures that is too small to be a reference.
    #[error(
        "`{folder}` holds {found} PNG or JPEG files; precision and recall need at least {LEAST_IMAGES}: add more, or name \
         another folder in `fidelity.reference`"
    )]
    FewPictures {
        /// The folder.
        folder: PathBuf,
        /// How many are there.
        found: usize,
    },
    /// The world.
    #[error(transparent)]
    World(#[from] WorldError),
    /// Pictures.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// A set without prompts or seeds, or with a seed twice.
    #[error("evaluation set: {0}")]
    Set(&'static str),
    /// Towers that were trained for another world.
    #[error(
        "`{path}` was made for another world: its {what} is {found}; this world has {expected}"
    )]
    OtherWorld {
        /// The weight file.
        path: PathBuf,
        /// Size that differs.
        what: &'static str,
        /// In the world.
        expected: i64,
        /// In the file.
        found: i64,
    },
    /// Evaluations on different prompts or seeds have no pairs.
    #[error(
        "`{a}` and `{b}` were evaluated on different sets; only images for the same prompts and seeds are comparable"
    )]
    NotPaired {
        /// The first evaluation's sampler.
        a: String,
        /// The second's.
        b: String,
    },
    /// A saved evaluation that cannot be read.
    #[error("cannot read evaluation `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A file that holds no evaluation.
    #[error("`{path}` is no evaluation")]
    Format {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: serde_json::Error,
    },
    /// Captions.
    #[error(transparent)]
    Data(#[from] BatchError),
    /// Networks of other metrics.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Towers.
    #[error(transparent)]
    Reward(#[from] RewardError),
    /// Writing.
    #[error(transparent)]
    Write(#[from] EventsError),
}

impl EvalError {
    /// Wraps the error of a [`crate::Sampler`].
    pub fn sampler(
        name: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Sampler {
            name: name.into(),
            source: source.into(),
        }
    }
}
