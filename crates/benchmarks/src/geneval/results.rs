//! One judged image, as a line of the official `results.jsonl`, which `summary_scores.py` reads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Detections, Layout, Metadata, MissingColor, Rules, Tag};

/// The verdict on an image with all that led to it. Fields are those of the official file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageResult {
    /// The image, below the folder of images.
    pub filename: String,
    /// Its task.
    pub tag: Tag,
    /// Its caption.
    pub prompt: String,
    /// Whether all clauses hold.
    pub correct: bool,
    /// Which do not, one a line.
    pub reason: String,
    /// The checks, as JSON in a string: prompts are told apart by it.
    pub metadata: String,
    /// What was detected with enough confidence, as JSON in a string: class to `[left, top, right, bottom, score]`s.
    pub details: String,
}

/// Why a set of images could not be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenEvalError {
    /// The detector's file lacks an image: an image without objects has an empty list there.
    #[error("no detections for `{image}`: run the detector on all images")]
    Undetected {
        /// Its name.
        image: String,
    },
    /// A colour is asked for and not told.
    #[error("`{image}`: {source}")]
    Color {
        /// Name of the image.
        image: String,
        /// Which detection.
        source: MissingColor,
    },
    /// There is nothing to sum up.
    #[error("no images were judged")]
    Empty,
}

impl ImageResult {
    /// Judges images `0..samples` of every prompt of a [`Layout`].
    ///
    /// # Errors
    /// An image without detections, a detection without a colour that is asked for.
    pub fn judge_all(
        prompts: &[Metadata],
        samples: usize,
        detections: &Detections,
        rules: &Rules,
    ) -> Result<Vec<Self>, GenEvalError> {
        let mut results = Vec::with_capacity(prompts.len() * samples);
        for (prompt, metadata) in prompts.iter().enumerate() {
            for sample in 0..samples {
                let image = Layout::image_name(prompt, sample);
                results.push(Self::judge(image, metadata, detections, rules)?);
            }
        }
        Ok(results)
    }

    fn judge(
        image: String,
        metadata: &Metadata,
        detections: &Detections,
        rules: &Rules,
    ) -> Result<Self, GenEvalError> {
        let Some(found) = detections.get(&image) else {
            return Err(GenEvalError::Undetected { image });
        };
        let verdict = match rules.verdict(metadata, found) {
            Ok(verdict) => verdict,
            Err(source) => return Err(GenEvalError::Color { image, source }),
        };
        let details: BTreeMap<_, Vec<_>> = rules
            .kept(metadata.tag, found)
            .into_iter()
            .map(|(class, kept)| {
                let row =
                    |[left, top, right, bottom]: [f32; 4], score| [left, top, right, bottom, score];
                (
                    class,
                    kept.into_iter()
                        .map(|one| row(one.bounds, one.score))
                        .collect(),
                )
            })
            .collect();
        Ok(Self {
            filename: image,
            tag: metadata.tag,
            prompt: metadata.prompt.clone(),
            correct: verdict.correct,
            reason: verdict.reason,
            metadata: serde_json::to_string(metadata).expect("plain data renders"),
            details: serde_json::to_string(&details).expect("plain data renders"),
        })
    }
}
