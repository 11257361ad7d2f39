//! What an evaluation finds: metrics, and every image's scores.

use std::{collections::BTreeMap, fs, path::Path};

use dmdr_events::{Statistic, atomic_write};
use dmdr_image::Image;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{EvalError, EvalSet, ImageScore, Measured};

/// Metrics of one sampler on one set, and what is known of each image: [`ImageScore`] or [`crate::DenseScore`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluation<S = ImageScore> {
    /// [`crate::Sampler::name`].
    pub sampler: String,
    /// Prompts and seeds.
    pub set: EvalSet,
    /// Network evaluations an image.
    pub num_evaluations: usize,
    /// Scale of classifier-free guidance; 1 = none.
    pub guidance: f64,
    /// Metrics by name; `diversity` is one number over all seeds and needs two of them.
    pub metrics: BTreeMap<String, Statistic>,
    /// Speed of sampling, scoring left out.
    pub images_per_second: f64,
    /// One an image: all prompts of the first seed, then of the next.
    pub scores: Vec<S>,
    /// The images that were kept, seed by seed; not saved. See [`crate::Evaluator::keep_images`].
    #[serde(skip)]
    pub images: Vec<Image>,
}

impl<S> Evaluation<S> {
    /// Its metrics, without the images' scores.
    pub fn measured(&self) -> Measured {
        Measured {
            split: self.set.split_name(),
            num_prompts: self.set.num_prompts,
            seeds: self.set.seeds.clone(),
            num_evaluations: self.num_evaluations,
            guidance: self.guidance,
            metrics: self.metrics.clone(),
            images_per_second: self.images_per_second,
        }
    }
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
