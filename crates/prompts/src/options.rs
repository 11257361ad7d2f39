//! What to keep of prompt files.

use std::path::PathBuf;

use dmdr_config::OnBadRow;

/// What to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// For rows that are no prompts.
    pub on_bad_row: OnBadRow,
    /// The fewest characters of a prompt.
    pub min_chars: usize,
    /// The most characters of a prompt.
    pub max_chars: usize,
    /// Keeps the first of prompts that differ only in case and white space. Takes about 32 bytes a prompt while reading.
    pub deduplicate: bool,
    /// Folder for the copy on disk, which is as large as all prompts; the system's temporary one if not given.
    pub spool: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            on_bad_row: OnBadRow::Fail,
            min_chars: 1,
            max_chars: usize::MAX,
            deduplicate: false,
            spool: None,
        }
    }
}
