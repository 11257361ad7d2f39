//! Errors of DPG-Bench.

use std::path::PathBuf;

use dmdr_prompts::FileError;

/// Why questions, prompts or answers could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DpgError {
    /// A file cannot be read, or a line of it is wrong.
    #[error(transparent)]
    File(#[from] FileError),
    /// The table of questions lacks a column.
    #[error("`{}` has no column `{column}`", path.display())]
    NoColumn {
        /// The file.
        path: PathBuf,
        /// The column.
        column: &'static str,
    },
    /// A question depends on one that is not there.
    #[error("item `{item}`: question {question} depends on question {parent}, which is not there")]
    MissingParent {
        /// The item.
        item: String,
        /// The question.
        question: i64,
        /// What it names.
        parent: i64,
    },
    /// An item has no images with answers.
    #[error("item `{item}` has no answers")]
    Unanswered {
        /// The item.
        item: String,
    },
    /// Answers to an item that has no questions.
    #[error("answers to item `{item}`, which has no questions")]
    UnknownItem {
        /// The item.
        item: String,
    },
    /// A question of an image has no answer.
    #[error("item `{item}`, image {image}: question {question} has no answer")]
    MissingAnswer {
        /// The item.
        item: String,
        /// The image, from 0.
        image: usize,
        /// The question.
        question: i64,
    },
    /// No item could be scored.
    #[error("no item has questions and answers")]
    Empty,
}
