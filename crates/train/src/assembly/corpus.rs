//! The prompts of a run: what was read of its files, for the user to see and for the run to keep.

use std::path::{Path, PathBuf};

use dmdr_config::{Experiment, PromptPaths, RowRules, World};
use dmdr_events::{RunDir, atomic_write};
use dmdr_prompts::{Census, Options, PromptSet, Source as PromptFile};
use serde::{Deserialize, Serialize};

use crate::{TrainError, hub};

/// Prompts of training and of validation.
#[derive(Debug)]
pub struct Corpus {
    pub(crate) train: PromptSet,
    pub(crate) validation: PromptSet,
    /// The same two, their keys and files.
    files: [(&'static str, Vec<PathBuf>); 2],
}

/// A file in the record.
#[derive(Debug, Serialize, Deserialize)]
struct FileRecord {
    path: PathBuf,
    /// Of what was kept of it, in order.
    prompts_sha256: String,
}

/// What is written of a set.
#[derive(Debug, Serialize)]
struct SetRecord<'a> {
    files: Vec<FileRecord>,
    census: &'a Census,
}

/// What is read of a set.
#[derive(Debug, Deserialize)]
struct SetFiles {
    files: Vec<FileRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record<T> {
    train: T,
    validation: T,
}

impl Corpus {
    /// All prompt files that `experiment` names; none if its world has no files.
    ///
    /// # Errors
    /// A file that cannot be read or holds no prompts; a bad row, where those are fatal.
    pub fn read(experiment: &Experiment) -> Result<Option<Self>, TrainError> {
        let World::Prompts(prompts) = &experiment.world else {
            return Ok(None);
        };
        let files = |paths: &PromptPaths| paths.iter().map(Path::to_owned).collect();
        Ok(Some(Self {
            train: read(&prompts.train, prompts.rules())?,
            validation: read(&prompts.validation, prompts.rules())?,
            files: [
                ("world.prompts.train", files(&prompts.train)),
                ("world.prompts.validation", files(&prompts.validation)),
            ],
        }))
    }

    /// What became of the rows, a line for each set and for each of its first bad rows.
    pub fn census(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, set) in [("training", &self.train), ("validation", &self.validation)] {
            lines.push(format!("prompts of {name}: {}", set.census()));
            let bad = set.census().examples.iter();
            lines.extend(bad.map(|row| format!("  left out: {row}")));
        }
        lines
    }

    /// Prompts for validation that are trained on.
    ///
    /// # Errors
    /// The copy of the prompts cannot be read.
    pub fn warning(&self) -> Result<Option<String>, TrainError> {
        let (mut count, mut example) = (0, None);
        for found in self.train.overlap(&self.validation)? {
            let found = found?;
            count += 1;
            example.get_or_insert(found.prompt);
        }
        Ok(example.map(|example| {
            format!(
                "{count} prompts of the training are among those of validation as well, such as `{example}`: sheets and \
                 evaluations show nothing that is new to the student there"
            )
        }))
    }

    /// Refuses files that changed since `run` began: its order of prompts would be another one.
    ///
    /// # Errors
    /// A file whose prompts are others, or a record that cannot be read.
    pub fn check(&self, run: &RunDir) -> Result<(), TrainError> {
        let path = run.prompts();
        if !path.is_file() {
            return Ok(()); // it has not begun
        }
        let begun = std::fs::read_to_string(&path).map_err(|source| TrainError::File {
            action: "read",
            path: path.clone(),
            source,
        })?;
        let begun: Record<SetFiles> = serde_json::from_str(&begun).map_err(|error| {
            let reason = error.to_string();
            TrainError::Damaged { path, reason }
        })?;
        let now = self.record();
        for (key, begun, now) in [
            (self.files[0].0, begun.train, now.train),
            (self.files[1].0, begun.validation, now.validation),
        ] {
            let pairs = begun.files.iter().zip(&now.files);
            let num_same = pairs
                .take_while(|(begun, now)| begun.prompts_sha256 == now.prompts_sha256)
                .count();
            if num_same < begun.files.len().max(now.files.len()) {
                let changed = now.files.get(num_same).or(now.files.last());
                return Err(TrainError::OtherPrompts {
                    key,
                    path: changed.map(|file| file.path.clone()).unwrap_or_default(),
                    run: run.path().to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Writes down what the prompts of `run` are, if it begins now; otherwise as [`Self::check`].
    pub(crate) fn keep(&self, run: &RunDir) -> Result<(), TrainError> {
        let path = run.prompts();
        if path.is_file() {
            return self.check(run);
        }
        let json = serde_json::to_string_pretty(&self.record()).expect("plain data serialises");
        Ok(atomic_write(path, json)?)
    }

    fn record(&self) -> Record<SetRecord<'_>> {
        let [train, validation] = &self.files;
        Record {
            train: set_record(&self.train, &train.1),
            validation: set_record(&self.validation, &validation.1),
        }
    }
}

fn set_record<'a>(set: &'a PromptSet, paths: &[PathBuf]) -> SetRecord<'a> {
    let files = paths.iter().zip(set.digests());
    let file = |(path, digest): (&PathBuf, &String)| FileRecord {
        path: path.clone(),
        prompts_sha256: digest.clone(),
    };
    SetRecord {
        files: files.map(file).collect(),
        census: set.census(),
    }
}

/// The prompts of files, one after the other.
pub(crate) fn read(paths: &PromptPaths, rules: RowRules<'_>) -> Result<PromptSet, TrainError> {
    let options = Options {
        on_bad_row: rules.on_bad_row,
        min_chars: rules.min_chars.unwrap_or(1),
        max_chars: rules.max_chars.unwrap_or(usize::MAX),
        deduplicate: rules.deduplicate,
        spool: None,
    };
    let mut sources = Vec::new();
    for path in paths.iter() {
        sources.push(PromptFile::new(hub::file(path)?, rules.column)?);
    }
    Ok(PromptSet::read(&sources, &options)?)
}
