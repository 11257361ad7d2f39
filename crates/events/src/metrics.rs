//! `metrics.jsonl`: one [`Record`] per line, appended while the run goes.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::atomic::atomic_write;
use crate::error::EventsError;
use crate::number;

/// What the numbers of a record are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An update: all networks that were trained in it.
    Train,
    /// A periodic evaluation.
    Evaluate,
    /// Speed and memory.
    System,
}

impl Kind {
    /// The name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Evaluate => "evaluate",
            Self::System => "system",
        }
    }
}

/// Numbers of one update.
///
/// JSON has no NaN or infinity: they are written as `"NaN"`, `"inf"`, `"-inf"` and read back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Update index, from 0.
    pub update: u64,
    /// What the numbers are about.
    pub kind: Kind,
    /// Seconds of training so far, over all resumes.
    #[serde(with = "number::one")]
    pub wall_s: f64,
    /// The numbers by name.
    #[serde(with = "number::map")]
    pub values: BTreeMap<String, f64>,
}

impl Record {
    /// A record from pairs of name and number.
    pub fn new<N: Into<String>>(
        update: u64,
        kind: Kind,
        wall_s: f64,
        values: impl IntoIterator<Item = (N, f64)>,
    ) -> Self {
        Self {
            update,
            kind,
            wall_s,
            values: values
                .into_iter()
                .map(|(name, value)| (name.into(), value))
                .collect(),
        }
    }
}

/// Appends records; each is on disk as a whole line before `append` returns.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines; a failed append is cut back to here.
    length: u64,
}

impl MetricsWriter {
    /// Opens the file.
    ///
    /// `None` starts a new run: the file must not exist or be empty. `Some(update)` continues after
    /// `update`: records of later updates are dropped (by an atomic rewrite), and so is a last line that a
    /// killed process left torn.
    ///
    /// # Errors
    /// The file holds records of another run, has a line that is not a record, or cannot be written.
    pub fn open(path: impl AsRef<Path>, resume_from: Option<u64>) -> Result<Self, EventsError> {
        let path = path.as_ref();
        match (resume_from, fs::metadata(path)) {
            (None, Ok(metadata)) if metadata.len() > 0 => {
                return Err(EventsError::MetricsExist {
                    path: path.to_owned(),
                });
            }
            (Some(update), Ok(_)) => drop_after(path, update)?,
            _ => {}
        }
        let file = File::options()
            .create(true)
            .append(true)
            .open(path)
            .map_err(EventsError::io("open", path))?;
        let length = file
            .metadata()
            .map_err(EventsError::io("open", path))?
            .len();
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
        })
    }

    /// Writes one record as one line.
    ///
    /// # Errors
    /// The disk is full or the file is gone; no part of the line is left behind.
    pub fn append(&mut self, record: &Record) -> Result<(), EventsError> {
        let line = line(record, &self.path)?;
        if let Err(source) = self.file.write_all(&line).and_then(|()| self.file.flush()) {
            // Best effort: a torn last line is tolerated by readers, one in the middle is not.
            let _ = self.file.set_len(self.length);
            return Err(EventsError::io("append to", &self.path)(source));
        }
        self.length += line.len() as u64;
        Ok(())
    }

    /// Forces what was appended to the disk; called with each checkpoint.
    ///
    /// # Errors
    /// The system cannot write it.
    pub fn sync(&self) -> Result<(), EventsError> {
        self.file
            .sync_data()
            .map_err(EventsError::io("sync", &self.path))
    }
}

/// All records of a file; a missing one has none, and a torn last line is left out.
///
/// # Errors
/// A line that is not a record, with its number, or the file cannot be read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<Record>, EventsError> {
    let path = path.as_ref();
    Ok(parse(path, &bytes(path)?)?
        .into_iter()
        .map(|(record, _)| record)
        .collect())
}

fn bytes(path: &Path) -> Result<Vec<u8>, EventsError> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(EventsError::io("read", path)),
    }
}

/// Records with their lines. Only a line without its newline can be torn.
fn parse<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<(Record, &'a [u8])>, EventsError> {
    let mut records = Vec::new();
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match serde_json::from_slice(line) {
            Ok(record) => records.push((record, line)),
            Err(_) if !line.ends_with(b"\n") => break,
            Err(error) => {
                return Err(EventsError::Line {
                    path: path.to_owned(),
                    line: index + 1,
                    message: error.to_string(),
                });
            }
        }
    }
    Ok(records)
}

fn drop_after(path: &Path, update: u64) -> Result<(), EventsError> {
    let old = bytes(path)?;
    let mut new = Vec::with_capacity(old.len());
    for (record, line) in parse(path, &old)? {
        if record.update <= update {
            new.extend_from_slice(line.trim_ascii_end());
            new.push(b'\n');
        }
    }
    if new == old {
        return Ok(());
    }
    atomic_write(path, new)
}

fn line(record: &Record, path: &Path) -> Result<Vec<u8>, EventsError> {
    let mut line = serde_json::to_vec(record).map_err(|source| EventsError::Json {
        path: path.to_owned(),
        what: "record",
        source,
    })?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests;
