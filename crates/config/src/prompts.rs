//! Prompt files: which ones, and which of their rows are kept.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{Error, SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Problem;
use crate::hub::{self, HubFile};

/// Files that are read one after the other as one; in a document a path, or a list of them. Each is here or a [`HubFile`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PromptPaths(Vec<PathBuf>);

impl PromptPaths {
    /// The files, at least one.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(PathBuf::as_path)
    }

    /// Those that are not on the hub, each with its key: `key`, or `key.0`, `key.1` of a list.
    pub(crate) fn keyed(&self, key: &str) -> Vec<(String, &Path)> {
        let keyed = |(index, path)| match self.0.len() {
            1 => (key.to_owned(), path),
            _ => (format!("{key}.{index}"), path),
        };
        let files = self.iter().enumerate();
        let files = files.filter(|(_, path)| !HubFile::is_meant(path));
        files.map(keyed).collect()
    }

    /// Changes the revisions of files on the hub.
    ///
    /// # Errors
    /// As for `revise`.
    pub fn revise<E>(
        &mut self,
        mut revise: impl FnMut(&mut HubFile) -> Result<(), E>,
    ) -> Result<(), E> {
        for path in &mut self.0 {
            if let Some(mut file) = HubFile::of(path) {
                revise(&mut file)?;
                *path = file.to_path();
            }
        }
        Ok(())
    }

    /// Takes the revisions of `begun` where it names the same files and this names no revision.
    pub fn keep_revisions(&mut self, begun: &Self) {
        for (path, begun) in self.0.iter_mut().zip(begun.iter()) {
            if let (Some(file), Some(begun)) = (HubFile::of(path), HubFile::of(begun)) {
                let unnamed = HubFile {
                    revision: None,
                    ..begun.clone()
                };
                if file == unnamed {
                    *path = begun.to_path();
                }
            }
        }
    }
}

impl Serialize for PromptPaths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0[..] {
            [one] => one.serialize(serializer),
            all => all.serialize(serializer),
        }
    }
}

fn checked<E: Error>(paths: Vec<PathBuf>) -> Result<PromptPaths, E> {
    let is_wrong = |path: &&PathBuf| HubFile::is_meant(path) && HubFile::of(path).is_none();
    if let Some(wrong) = paths.iter().find(is_wrong) {
        let wrong = wrong.display();
        return Err(E::custom(format!(
            "invalid `{wrong}`, expected {}",
            hub::FORM
        )));
    }
    Ok(PromptPaths(paths))
}

impl<'de> Deserialize<'de> for PromptPaths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;
        impl<'de> Visitor<'de> for OneOrMore {
            type Value = PromptPaths;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or a list of paths")
            }

            fn visit_str<E: Error>(self, path: &str) -> Result<PromptPaths, E> {
                checked(vec![path.into()])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<PromptPaths, A::Error> {
                let paths = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                if paths.is_empty() {
                    return Err(Error::invalid_length(0, &"at least one path"));
                }
                checked(paths)
            }
        }
        deserializer.deserialize_any(OneOrMore)
    }
}

/// The column that holds the prompt where a file names none.
pub(crate) fn default_column() -> String {
    "prompt".to_owned()
}

/// What becomes of a row that is no prompt: not UTF-8, with a NUL, without the column, empty, or too long (a mebibyte).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadRow {
    /// The command ends with its file and place.
    #[default]
    Fail,
    /// It is counted and left out.
    Skip,
}

impl OnBadRow {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which rows of prompt files are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowRules<'a> {
    /// The column with the prompts.
    pub column: &'a str,
    /// The fewest characters of a prompt.
    pub min_chars: Option<usize>,
    /// The most characters of a prompt.
    pub max_chars: Option<usize>,
    /// Keeps the first of prompts that differ only in case and white space.
    pub deduplicate: bool,
    /// For rows that are no prompts.
    pub on_bad_row: OnBadRow,
}

impl RowRules<'_> {
    /// Limits that leave nothing; the keys begin with `table`.
    pub(crate) fn problem(&self, table: &str) -> Option<Problem> {
        let (min, max) = (self.min_chars?, self.max_chars?);
        (max < min).then(|| {
            Problem::new(
                &[&format!("{table}.min_chars"), &format!("{table}.max_chars")],
                format!("no prompt has at least {min} and at most {max} characters"),
                "swap them, or remove one",
            )
        })
    }
}
