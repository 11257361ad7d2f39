//! [`RunDir`]: the folder of a run and the names in it.

pub(crate) mod owned;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::atomic::atomic_write;
use crate::environment::Environment;
use crate::error::EventsError;
use crate::eval::EvalReport;

const CONFIG: &str = "config.toml";
/// The file that is locked; it says who holds the lock.
const LOCK: &str = "lock.json";

/// The folder of a run:
///
/// ```text
/// config.toml                  the resolved configuration
/// env.json                     program, machine, command
/// prompts.json                 prompt files, what was kept of them and what became of their rows
/// inputs.json                  all other files that it reads, by hash
/// lock.json                    who writes here, or did last
/// metrics.jsonl                one record per line
/// tensorboard/                 the same numbers as event files
/// samples/update-000500.png      sheets of samples
/// eval/NAME.json               evaluation reports
/// scores/NAME.json             every image's scores in them
/// checkpoints/update-000500/     checkpoints
/// best.safetensors             the student with the best value of what a guard watches
/// report/index.html            the report
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

/// Subfolders that every run has from the start.
const FOLDERS: [&str; 6] = [
    "tensorboard",
    "samples",
    "eval",
    "scores",
    "checkpoints",
    "report",
];

/// Whether a folder holds nothing but empty subfolders and `env.json` of a run that was never started.
fn is_unborn(path: &Path) -> Result<bool, EventsError> {
    let names = |path: &Path| -> Result<Vec<String>, EventsError> {
        let entries = fs::read_dir(path).map_err(EventsError::io("open", path))?;
        Ok(entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    };
    for name in names(path)? {
        let is_ours = FOLDERS.contains(&name.as_str()) && names(&path.join(&name))?.is_empty();
        let is_torn = name.starts_with('.'); // the temporary file of a write that was killed
        if !is_ours && !is_torn && name != "env.json" && name != LOCK {
            return Ok(false);
        }
    }
    Ok(true)
}

impl RunDir {
    /// The folder of an existing run.
    ///
    /// # Errors
    /// The folder has no `config.toml`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, EventsError> {
        let run = Self { path: path.into() };
        if run.config().is_file() {
            Ok(run)
        } else {
            Err(EventsError::NotARun {
                path: run.path,
                missing: CONFIG,
            })
        }
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// Program, machine and command.
    pub fn env(&self) -> PathBuf {
        self.path.join("env.json")
    }

    /// What the prompt files held when the run began; of a run without any it is not there.
    pub fn prompts(&self) -> PathBuf {
        self.path.join("prompts.json")
    }

    /// All other files that the run reads, by their hashes when it began.
    pub fn inputs(&self) -> PathBuf {
        self.path.join("inputs.json")
    }

    /// The records.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// The folder of event files.
    pub fn tensorboard(&self) -> PathBuf {
        self.path.join("tensorboard")
    }

    /// The sheet of samples after `update` updates.
    pub fn sample(&self, update: u64) -> PathBuf {
        self.path
            .join("samples")
            .join(format!("{}.png", update_name(update)))
    }

    /// The evaluation report called `name`.
    ///
    /// # Errors
    /// `name` is not a plain name.
    pub fn eval(&self, name: &str) -> Result<PathBuf, EventsError> {
        plain(name)?;
        Ok(self.path.join("eval").join(format!("{name}.json")))
    }

    /// Every image's scores of the evaluation called `name`.
    ///
    /// # Errors
    /// `name` is not a plain name.
    pub fn scores(&self, name: &str) -> Result<PathBuf, EventsError> {
        plain(name)?;
        Ok(self.path.join("scores").join(format!("{name}.json")))
    }

    /// The student with the best value of what a guard watches.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// The folder of checkpoints.
    pub fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// The folder of the checkpoint after `update` updates.
    pub fn checkpoint(&self, update: u64) -> PathBuf {
        self.checkpoints().join(update_name(update))
    }

    /// The report.
    pub fn report(&self) -> PathBuf {
        self.path.join("report").join("index.html")
    }

    /// Sheets of samples that are there, by update.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn list_samples(&self) -> Result<Vec<(u64, PathBuf)>, EventsError> {
        list_updates(&self.path.join("samples"), ".png")
    }

    /// Checkpoint folders that are there, by update; whether one is whole is for its reader to say.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn list_checkpoints(&self) -> Result<Vec<(u64, PathBuf)>, EventsError> {
        list_updates(&self.checkpoints(), "")
    }

    /// Evaluation reports that are there, with their names, in order of names.
    ///
    /// # Errors
    /// A report cannot be read.
    pub fn list_evals(&self) -> Result<Vec<(String, EvalReport)>, EventsError> {
        let mut reports = Vec::new();
        for (name, path) in list(&self.path.join("eval"))? {
            if let Some(stem) = name.strip_suffix(".json")
                && plain(stem).is_ok()
            {
                reports.push((stem.to_owned(), EvalReport::read(path)?));
            }
        }
        Ok(reports)
    }

    /// Saves the resolved configuration; from then on the folder is a run.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_config(&self, toml: &str) -> Result<(), EventsError> {
        atomic_write(self.config(), toml)
    }

    /// Saves the environment.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_env(&self, environment: &Environment) -> Result<(), EventsError> {
        environment.write(self.env())
    }

    /// Saves an evaluation report, replacing one of the same name.
    ///
    /// # Errors
    /// `name` is not a plain name, or the file cannot be written.
    pub fn write_eval(&self, name: &str, report: &EvalReport) -> Result<PathBuf, EventsError> {
        let path = self.eval(name)?;
        let folder = self.path.join("eval");
        fs::create_dir_all(&folder).map_err(EventsError::io("create", &folder))?;
        report.write(&path)?;
        Ok(path)
    }
}

/// `update-000500`.
fn update_name(update: u64) -> String {
    format!("update-{update:06}")
}

/// Refuses names that would leave the folder or be hidden in it.
fn plain(name: &str) -> Result<(), EventsError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && !name.starts_with('.') && name.chars().all(allowed) {
        Ok(())
    } else {
        Err(EventsError::Name {
            name: name.to_owned(),
        })
    }
}

/// Entries called `update-NNNNNN` and `suffix`; temporary names are left out.
fn list_updates(folder: &Path, suffix: &str) -> Result<Vec<(u64, PathBuf)>, EventsError> {
    let mut updates: Vec<(u64, PathBuf)> = list(folder)?
        .into_iter()
        .filter_map(|(name, path)| {
            let update = name
                .strip_suffix(suffix)?
                .strip_prefix("update-")?
                .parse()
                .ok()?;
            Some((update, path))
        })
        .collect();
    updates.sort_unstable();
    Ok(updates)
}

/// Names and paths in a folder, sorted; none if it is missing.
fn list(folder: &Path) -> Result<Vec<(String, PathBuf)>, EventsError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(EventsError::io("list", folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(EventsError::io("list", folder))?;
        found.push((
            entry.file_name().to_string_lossy().into_owned(),
            entry.path(),
        ));
    }
    found.sort_unstable();
    Ok(found)
}

#[cfg(test)]
mod tests;
