//! A detector's findings as a file keeps them: an image a line, and which picture and detector they are of.

use std::collections::HashSet;
use std::path::Path;

use dmdr_events::atomic_write;
use dmdr_prompts::{FileError, json_lines};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Detection, Detections};

/// All that was found in one image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Findings {
    /// Name of the image: its path below the folder of images, with `/`.
    pub image: String,
    /// Of what they are, if the detector's program says so: findings of another picture under the same name, or by
    /// another detector, can then be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// The objects.
    pub detections: Vec<Detection>,
}

/// What findings are of. Hashes are SHA-256 in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Of the picture's file.
    pub picture: String,
    /// Of the detector's file.
    pub detector: String,
    /// How the detector's answers were read: its interface and thresholds. Older files do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Value>,
}

impl Findings {
    /// Reads a detector's file, in its order.
    ///
    /// # Errors
    /// A line that is no such record, an unknown class, a number that is none, an image that was there before.
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<Self>, FileError> {
        let path = path.as_ref();
        let mut seen = HashSet::new();
        let mut all = Vec::new();
        for (number, findings) in json_lines::read::<Self>(path)? {
            let wrong = |message| FileError::line(path, number, message);
            for detection in &findings.detections {
                detection.check().map_err(wrong)?;
            }
            let image = &findings.image;
            if !seen.insert(image.clone()) {
                return Err(wrong(format!("image `{image}` was there before")));
            }
            all.push(findings);
        }
        Ok(all)
    }

    /// Writes a detector's file, whole or not at all.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(all: &[Self], path: impl AsRef<Path>) -> Result<(), FileError> {
        Ok(atomic_write(path, json_lines::render(all))?)
    }

    /// What the rules read.
    pub fn by_image(all: Vec<Self>) -> Detections {
        all.into_iter()
            .map(|findings| (findings.image, findings.detections))
            .collect()
    }
}

impl Detection {
    /// Reads a detector's file.
    ///
    /// # Errors
    /// A line that is no such record, an unknown class, a number that is none, an image that was there before.
    pub fn read(path: impl AsRef<Path>) -> Result<Detections, FileError> {
        Ok(Findings::by_image(Findings::read(path)?))
    }
}
