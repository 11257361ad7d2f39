//! Where a run's prompts come from: the emoji world, prompt files, or the numbers of classes.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{defaults, range};

/// `[world]` of a distillation: the source of prompts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum World {
    /// Emoji scenes with exact ground truth: `preset = "mini"`.
    Preset(WorldPreset),
    /// Prompts for a published text-to-image model.
    Prompts(PromptFiles),
    /// Numbers of classes as prompts, for a class-conditional model on latents of the size it was trained on:
    /// `classes = "all"`.
    Classes(Classes),
}

impl Default for World {
    fn default() -> Self {
        Self::Preset(WorldPreset::default())
    }
}

/// `[world.prompts]`: prompts as text, and what is drawn of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PromptFiles {
    /// Prompts of the training: text with one a line, JSON lines, CSV, TSV, Parquet, Arrow, or a tar of `WebDataset`, told by the
    /// file's ending.
    pub train: PathBuf,
    /// Prompts of the sample sheets, likewise.
    pub validation: PathBuf,
    /// The column of tables, or the field of JSON lines, that holds the prompt.
    #[serde(default = "defaults::prompt_column")]
    pub column: String,
    /// Height and width of an image in pixels.
    #[serde(deserialize_with = "range::count")]
    pub size: usize,
    /// Folder in which encoded prompts are kept, so that the text encoders run once and not during training.
    pub embeddings: PathBuf,
}

/// Which classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Classes {
    /// All that the model knows, each as often.
    All,
}

/// `[world]` of a pretraining: the source of prompts, images and exact ground truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmojiWorld {
    /// The set of objects, colours and tasks, and the size of the canvas.
    pub preset: WorldPreset,
}

/// A world that is shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorldPreset {
    /// Few objects on 32 x 32 pixels: trains on a laptop in minutes.
    #[default]
    Mini,
    /// All of `GenEval`'s six task kinds on 64 x 64 pixels.
    Geneval,
}

impl WorldPreset {
    /// Height and width of an image in pixels.
    pub fn canvas(self) -> usize {
        match self {
            Self::Mini => 32,
            Self::Geneval => 64,
        }
    }
}

impl fmt::Display for WorldPreset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Mini => "mini",
            Self::Geneval => "geneval",
        })
    }
}
