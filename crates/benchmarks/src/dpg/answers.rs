//! What a visual question answering model said, read from a file of JSON lines, one an image:
//!
//! ```json
//! {"item": "partiprompts97", "image": 0, "answers": {"1": "yes", "2": "no"}}
//! ```
//!
//! The official model is mPLUG-large; other models rank alike but give other values. An answer counts only if it is
//! exactly `yes`.

use std::collections::BTreeMap;
use std::path::Path;

use dmdr_events::atomic_write;
use dmdr_prompts::{FileError, json_lines};
use serde::{Deserialize, Serialize};

use super::DpgError;

/// Answers to the questions of one image, by the question's number.
pub type ImageAnswers = BTreeMap<i64, String>;

/// Answers to all images of each item, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answers {
    /// By item.
    pub items: BTreeMap<String, Vec<ImageAnswers>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    item: String,
    image: usize,
    answers: ImageAnswers,
}

impl Answers {
    /// Writes such a file, atomically.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), DpgError> {
        let lines: Vec<Line> = self
            .items
            .iter()
            .flat_map(|(item, images)| {
                let line = |(image, answers): (usize, &ImageAnswers)| Line {
                    item: item.clone(),
                    image,
                    answers: answers.clone(),
                };
                images.iter().enumerate().map(line).collect::<Vec<_>>()
            })
            .collect();
        Ok(atomic_write(path, json_lines::render(&lines)).map_err(FileError::from)?)
    }

    /// Reads a model's file. The images of an item may come in any order, but must be 0, 1, 2 and so on.
    ///
    /// # Errors
    /// A line that is no such record, an image twice or left out.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DpgError> {
        let path = path.as_ref();
        let mut images: BTreeMap<(String, usize), (u64, ImageAnswers)> = BTreeMap::new();
        for (number, line) in json_lines::read::<Line>(path)? {
            let key = (line.item, line.image);
            let message = format!("image {} of item `{}` was there before", key.1, key.0);
            if images.insert(key, (number, line.answers)).is_some() {
                return Err(FileError::line(path, number, message).into());
            }
        }
        let mut items: BTreeMap<String, Vec<ImageAnswers>> = BTreeMap::new();
        for ((item, image), (number, answers)) in images {
            let all = items.entry(item).or_default();
            if image != all.len() {
                let message = format!("image {image}, but no image {} of the item", all.len());
                return Err(FileError::line(path, number, message).into());
            }
            all.push(answers);
        }
        Ok(Self { items })
    }
}
