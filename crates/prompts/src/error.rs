//! Errors of prompt sets.

use std::path::{Path, PathBuf};

use crate::BadRow;
use crate::FileError;

/// Why a prompt set could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PromptsError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A bad row, where those are fatal.
    #[error("{0}; mend it, or pass over bad rows with `on_bad_row = \"skip\"`")]
    Row(#[from] BadRow),
    /// A file whose name does not tell its format.
    #[error("cannot tell the format of `{}` by its name: expected {expected}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// The endings that do.
        expected: &'static str,
    },
    /// A table without the column.
    #[error("`{}` has no column `{column}`; it has {}", path.display(), has.join(", "))]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// Its columns.
        has: Vec<String>,
    },
    /// A table whose column holds something else than one text a row.
    #[error("column `{column}` of `{}` is {kind}, not text; its text columns are {}", path.display(), has.join(", "))]
    NotText {
        /// The file.
        path: PathBuf,
        /// The column asked for.
        column: String,
        /// What it holds.
        kind: String,
        /// The columns of text.
        has: Vec<String>,
    },
    /// A file that is no JSON array as a whole.
    #[error("cannot read `{}` as a JSON array, after row {after}: {reason}", path.display())]
    JsonArray {
        /// The file.
        path: PathBuf,
        /// The last row before the place.
        after: u64,
        /// What is wrong.
        reason: &'static str,
    },
    /// A file that is not Parquet, or is damaged.
    #[error("cannot read `{}` as Parquet: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: parquet::errors::ParquetError,
    },
    /// A file that is neither of Arrow's IPC formats, or is damaged.
    #[error("cannot read `{}` as Arrow: {source}", path.display())]
    Arrow {
        /// The file.
        path: PathBuf,
        /// What the reader says.
        source: arrow_schema::ArrowError,
    },
    /// No row was kept.
    #[error(
        "no prompts are left: of {rows} rows {bad} are bad, and the others were left out{}; look at the files, and at \
         `min_chars` and `max_chars`",
        first_of(first.as_ref())
    )]
    NoPrompts {
        /// All rows.
        rows: u64,
        /// Those with a fault.
        bad: u64,
        /// The first of them.
        first: Option<BadRow>,
    },
}

/// What a message says of the first bad row.
fn first_of(row: Option<&BadRow>) -> String {
    row.map_or_else(String::new, |row| format!("; the first bad one: {row}"))
}

impl PromptsError {
    /// For a table without `column`, or whose `column` is `kind`; it has text under `has`.
    pub(super) fn no_text(
        path: &Path,
        column: &str,
        kind: Option<String>,
        mut has: Vec<String>,
    ) -> Self {
        if has.is_empty() {
            has.push("none".to_owned());
        }
        let (path, column) = (path.to_owned(), column.to_owned());
        match kind {
            None => Self::NoColumn { path, column, has },
            Some(kind) => Self::NotText {
                path,
                column,
                kind,
                has,
            },
        }
    }
}
