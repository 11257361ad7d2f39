//! Pictures of what an arm left behind.

use dmdr_eval::Sampler;
use dmdr_image::Image;
use dmdr_train::FinishedRun;

use super::EmojiOutcome;
use crate::LabError;

/// Who draws for a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Artist {
    /// The finished student of a run.
    Student,
    /// The teacher it was distilled from.
    Teacher,
}

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A prompt of each kind, of those that sheets show.
    EachKind,
    /// One prompt from different noise.
    OnePrompt,
}

/// Images in a row of a picture.
const COLUMNS: usize = 6;

impl Artist {
    /// A row of images for the arm that left `of`.
    ///
    /// # Errors
    /// A run that cannot be opened.
    pub fn draw(self, of: &EmojiOutcome, subject: Subject) -> Result<Vec<Image>, LabError> {
        let finished = FinishedRun::open(&of.run)?;
        let (student, teacher) = (finished.student(), finished.teacher());
        let sampler: &dyn Sampler = match self {
            Self::Student => &student,
            Self::Teacher => &teacher,
        };
        let captions = finished.source.sheet(COLUMNS)?.captions;
        if subject == Subject::OnePrompt {
            return Ok(finished.draw(sampler, &captions[0], 0, COLUMNS)?);
        }
        let mut images = Vec::new();
        for caption in captions {
            images.extend(finished.draw(sampler, &caption, 0, 1)?);
        }
        Ok(images)
    }
}
