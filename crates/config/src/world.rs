//! Where a run's prompts come from: the emoji world, prompt files, or the numbers of classes.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::prompts::{self, OnBadRow, PromptPaths, RowRules};
use crate::range;

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
    /// Prompts of the training: text with one a line, JSON lines, a JSON array, CSV, TSV, Parquet, Arrow, or a tar of `WebDataset`, told
    /// by the file's ending. A list of files is read as one; a file of a data set on the hub is
    /// `hf://datasets/OWNER/NAME[@REVISION]/PATH`.
    pub train: PromptPaths,
    /// Prompts of the sample sheets and of the periodic evaluation, likewise.
    pub validation: PromptPaths,
    /// The column of tables, or the field of JSON lines, that holds the prompt.
    #[serde(default = "prompts::default_column")]
    pub column: String,
    /// The fewest characters of a prompt; shorter ones are left out.
    #[serde(
        default,
        deserialize_with = "range::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub min_chars: Option<usize>,
    /// The most characters of a prompt; longer ones are left out.
    #[serde(
        default,
        deserialize_with = "range::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_chars: Option<usize>,
    /// Keeps the first of prompts that differ only in case and white space.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deduplicate: bool,
    /// What becomes of a row that is no prompt.
    #[serde(default, skip_serializing_if = "OnBadRow::is_default")]
    pub on_bad_row: OnBadRow,
    /// Height and width of an image in pixels.
    #[serde(deserialize_with = "range::count")]
    pub size: usize,
    /// Side, in latent pixels, of the overlapping tiles that images are decoded in where they do not fit whole; not quite the
    /// same images. A multiple of 4; absent = whole.
    #[serde(
        default,
        deserialize_with = "range::tile",
        skip_serializing_if = "Option::is_none"
    )]
    pub tile: Option<usize>,
    /// Folder in which encoded prompts are kept, so that the text encoders run once and not during training.
    pub embeddings: PathBuf,
}

impl PromptFiles {
    /// Which rows are kept.
    pub fn rules(&self) -> RowRules<'_> {
        RowRules {
            column: &self.column,
            min_chars: self.min_chars,
            max_chars: self.max_chars,
            deduplicate: self.deduplicate,
            on_bad_row: self.on_bad_row,
        }
    }
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorldPreset {
    /// 12 objects, 6 colours, 32 x 32 pixels: trains on a laptop in minutes.
    #[default]
    Mini,
    /// Every class of `GenEval` that has an emoji, 10 colours, 64 x 64 pixels.
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
