//! A file of prompts: its format and the column to read.

use std::path::{Path, PathBuf};

use crate::row::Visit;
use crate::{PromptsError, array, arrow, columnar, lines, shard, table};

const ENDINGS: &str = ".txt, .jsonl, .ndjson, .json, .csv, .tsv or .tar, each also with .gz or .zst behind it, \
                       or .parquet, .arrow, .ipc or .feather";

/// How prompts lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A prompt a line.
    Text,
    /// A JSON object a line, with the prompt under the column's name.
    JsonLines,
    /// One JSON array of objects, with the prompt under the column's name; JSON lines are read as well.
    JsonArray,
    /// Comma-separated values with a header line; fields may be quoted.
    Csv,
    /// Tab-separated values with a header line; a quotation mark is a character like any other.
    Tsv,
    /// A WebDataset shard: a prompt for each `.json` member under the column's name, or, if the column is
    /// called `txt`, for each `.txt` member. All other members are passed over.
    Tar,
    /// Apache Parquet; the column is text, or a field `b` of text in a structure `a`, which is `a.b`.
    Parquet,
    /// Arrow's IPC stream or file (Feather version 2); the column is as in Parquet.
    Arrow,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub format: Format,
    /// The column with the prompts; plain text has none.
    pub column: String,
}

impl Source {
    /// A file whose name tells the format.
    ///
    /// # Errors
    /// An ending that is none of the formats.
    pub fn new(path: impl Into<PathBuf>, column: &str) -> Result<Self, PromptsError> {
        let path = path.into();
        let column = column.to_owned();
        match format_of(&path) {
            Some(format) => Ok(Self {
                path,
                format,
                column,
            }),
            None => Err(PromptsError::UnknownFormat {
                path,
                expected: ENDINGS,
            }),
        }
    }

    /// Every row in the order of the file.
    pub(super) fn read(&self, visit: &mut Visit) -> Result<(), PromptsError> {
        let (path, column) = (&self.path, self.column.as_str());
        match self.format {
            Format::Text => lines::read(path, None, visit),
            Format::JsonLines => lines::read(path, Some(column), visit),
            Format::JsonArray => array::read(path, column, visit),
            Format::Csv => table::read(path, b',', true, column, visit),
            Format::Tsv => table::read(path, b'\t', false, column, visit),
            Format::Tar => shard::read(path, column, visit),
            Format::Parquet => columnar::read(path, column, visit),
            Format::Arrow => arrow::read(path, column, visit),
        }
    }
}

fn format_of(path: &Path) -> Option<Format> {
    let ending = |path: &Path| Some(path.extension()?.to_str()?.to_ascii_lowercase());
    let last = ending(path)?;
    let is_packed = matches!(last.as_str(), "gz" | "zst");
    let ending = if is_packed {
        ending(&path.with_extension(""))?
    } else {
        last
    };
    Some(match ending.as_str() {
        "txt" => Format::Text,
        "jsonl" | "ndjson" => Format::JsonLines,
        "json" => Format::JsonArray,
        "csv" => Format::Csv,
        "tsv" => Format::Tsv,
        "tar" | "tgz" => Format::Tar,
        // These are packed inside, and read from their ends.
        "parquet" if !is_packed => Format::Parquet,
        "arrow" | "feather" | "ipc" if !is_packed => Format::Arrow,
        _ => return None,
    })
}
