//! [`Table`]: what `dmdr eval table` measures.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::device::Device;
use crate::fidelity::{Detector, Diversity, Fidelity};
use crate::metric::{self, Metric};
use crate::precision::Precision;
use crate::prompts::{self, OnBadRow, PromptPaths, RowRules};
use crate::range;
use crate::referenced::ReferencedFile;

/// Teachers and students side by side on one prompt set, scored by reward models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Name of the table's folder.
    #[serde(deserialize_with = "range::folder_name")]
    pub name: String,
    /// Device of the reward models; each run has its own.
    #[serde(default)]
    pub device: Device,
    /// Number format of the reward models' large matrix products.
    #[serde(default)]
    pub precision: Precision,
    /// Seeds of the noise; every prompt is drawn once a seed.
    #[serde(default = "default_seeds")]
    pub seeds: Vec<u64>,
    /// Images drawn and scored at a time.
    #[serde(default = "default_batch_size", deserialize_with = "range::count")]
    pub batch_size: usize,
    /// Numbers of pixels that betray a gamed reward, as columns behind those of `metrics`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub detectors: Vec<Detector>,
    /// What is drawn.
    pub prompts: TablePrompts,
    /// Who draws, in the order of the rows. The others are compared with the first.
    pub models: Vec<TableModel>,
    /// Who scores, in the order of the columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Metric>,
    /// How far apart the images of a prompt are; needs at least two seeds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diversity: Option<Diversity>,
    /// How near all images are to true pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fidelity: Option<Fidelity>,
}

fn default_seeds() -> Vec<u64> {
    vec![0]
}

fn default_batch_size() -> usize {
    8
}

/// `[prompts]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TablePrompts {
    /// Text with one a line, JSON lines, a JSON array, CSV, TSV, Parquet, Arrow, or a tar of `WebDataset`, told by the file's
    /// ending. A list of files is read as one; a file of a data set on the hub is `hf://datasets/OWNER/NAME[@REVISION]/PATH`.
    pub file: PromptPaths,
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
    /// Only the first ones of those that are kept; absent = all.
    #[serde(
        default,
        deserialize_with = "range::optional_count",
        skip_serializing_if = "Option::is_none"
    )]
    pub count: Option<usize>,
}

impl TablePrompts {
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

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableModel {
    /// Its name in the table.
    pub name: String,
    /// The folder of a run of `dmdr train`, finished.
    pub run: PathBuf,
    /// Which of the run's two models.
    pub who: Who,
}

/// A model of a run.
#[cfg_attr(feature = "clap", derive(clap::ValueEnum))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// What was distilled, with its steps and guidance.
    Teacher,
    /// What is made of it, with few steps and no guidance.
    Student,
}

impl Table {
    /// Every file the configuration names, with its key; the caller checks that they exist.
    pub fn referenced_files(&self) -> Vec<ReferencedFile> {
        let mut files = Vec::new();
        for (key, path) in self.prompts.file.keyed("prompts.file") {
            files.push(ReferencedFile::new(key, path));
        }
        for (index, model) in self.models.iter().enumerate() {
            files.push(ReferencedFile::new(
                format!("models.{index}.run"),
                &model.run,
            ));
        }
        let diversity = self.diversity.as_ref();
        files.extend(metric::referenced_files("", &self.metrics, diversity));
        for (field, path) in self.fidelity.iter().flat_map(Fidelity::files) {
            files.push(ReferencedFile::new(format!("fidelity.{field}"), path));
        }
        files
    }
}
