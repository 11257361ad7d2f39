//! What an evaluation finds: metrics, and every image's scores.

use std::{fs, path::Path};

use dmdr_events::atomic_write;
use dmdr_image::Image;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{EvalError, ImageScore, Measured};

/// Metrics of one sampler on one set, and what is known of each image: [`ImageScore`] or [`crate::DenseScore`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation<S = ImageScore> {
    /// [`crate::Sampler::name`].
    pub sampler: String,
    /// Its metrics; `diversity` is one number over all seeds and needs two of them.
    pub measured: Measured,
    /// One an image: all prompts of the first seed, then of the next.
    pub scores: Vec<S>,
    /// The images that were kept, seed by seed; not saved. See [`crate::Evaluator::keep_images`].
    #[serde(skip)]
    pub images: Vec<Image>,
}

impl<S: Serialize + DeserializeOwned> Evaluation<S> {
    /// Writes metrics and every image's scores as JSON, atomically: enough to [`crate::compare`] later.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), EvalError> {
        let mut bytes = serde_json::to_vec(self).expect("plain numbers and texts serialise");
        bytes.push(b'\n');
        Ok(atomic_write(path, bytes)?)
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// The file cannot be read or is no evaluation.
    pub fn read(path: &Path) -> Result<Self, EvalError> {
        let bytes = fs::read(path).map_err(|source| EvalError::Read {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&bytes).map_err(|source| EvalError::Format {
            path: path.to_owned(),
            source,
        })
    }
}
