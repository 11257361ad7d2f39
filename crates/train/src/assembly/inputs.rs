//! `inputs.json`: the files that a run's numbers depend on, each by its hash, so that it goes on with the same ones.
//!
//! A file whose size and time of change are those in the record counts as the same and is not read again: hashing
//! 20 GB takes half a minute. If one of them differs, the hash decides. Prompt files have a record of their own, by
//! what was read of them ([`crate::Corpus`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
};

use dmdr_config::{Experiment, Pretrain};
use dmdr_events::{EventsError, InputFile, RunDir, atomic_write};
use dmdr_models::{component_names, weights_of_part};
use serde::{Deserialize, Serialize};

use crate::{TrainError, hub};

/// What a folder of weights or of a tokenizer is read for.
const ENDINGS: [&str; 4] = ["json", "safetensors", "txt", "model"];
/// Marks of weights in other formats beside the plain ones, in folders that are no pipeline's.
const VARIANTS: [&str; 3] = ["fp16", "bf16", "non_ema"];
/// What makes a folder a pipeline.
const INDEX: &str = "model_index.json";

/// The files of a run, by the config keys that name them or their folders.
#[derive(Debug)]
pub struct Inputs {
    files: BTreeMap<Place, PathBuf>,
    /// The config key that starts another run from this one's weights.
    init: &'static str,
}

/// A config key, and a file's place in the folder that it names; empty where it names the file itself.
type Place = (String, String);

/// A file when the run began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    key: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    file: String,
    /// Where it was, for people.
    path: String,
    bytes: u64,
    /// Time of the last change, nanoseconds since 1970; none where the system has no such times.
    changed_ns: Option<u64>,
    sha256: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    files: Vec<Entry>,
}

impl Inputs {
    /// Of a distillation; its pipeline lies in `folder`, which is looked up if none is given.
    ///
    /// # Errors
    /// A file or folder that is not there, or a hub that does not answer.
    pub fn of(experiment: &Experiment, folder: Option<&Path>) -> Result<Self, TrainError> {
        let files = experiment.referenced_files().into_iter();
        let mut named: BTreeMap<String, PathBuf> = files
            .filter(|file| !file.key.starts_with("world.prompts."))
            .map(|file| (file.key, file.path))
            .collect();
        if experiment.teacher.is_on_hub() {
            let folder = match folder {
                Some(folder) => folder.to_owned(),
                None => hub::folder(&experiment.teacher)?,
            };
            named.insert("teacher.weights".to_owned(), folder);
        }
        Self::listed(named, "student.init")
    }

    /// Those of [`Self::of`] that its pictures depend on; not those that score them.
    ///
    /// # Errors
    /// As for [`Self::of`].
    pub(crate) fn of_pictures(experiment: &Experiment) -> Result<Self, TrainError> {
        let (text_encoder, _) = experiment.text_encoder();
        let mut inputs = Self::of(experiment, None)?;
        inputs
            .files
            .retain(|(key, _), _| key.starts_with("teacher.") || key == text_encoder);
        Ok(inputs)
    }

    /// Of a pretraining.
    ///
    /// # Errors
    /// A file that is not there.
    pub fn of_pretraining(config: &Pretrain) -> Result<Self, TrainError> {
        let files = config.referenced_files().into_iter();
        let named = files.map(|file| (file.key, file.path)).collect();
        Self::listed(named, "init")
    }

    fn listed(named: BTreeMap<String, PathBuf>, init: &'static str) -> Result<Self, TrainError> {
        let mut files = BTreeMap::new();
        // What is missing is for its reader to say: not every file is needed by every command.
        for (key, path) in named.into_iter().filter(|(_, path)| path.exists()) {
            for (file, path) in read_files(&path)? {
                files.insert((key.clone(), file), path);
            }
        }
        Ok(Self { files, init })
    }

    /// Refuses files that are others than when `run` began. Says so if that cannot be told, as the run has no record.
    ///
    /// # Errors
    /// A file that changed, came or went; a record that cannot be read.
    pub fn check(&self, run: &RunDir) -> Result<Option<String>, TrainError> {
        let Some(mut record) = read_record(run)? else {
            let has_begun = !run.list_checkpoints()?.is_empty();
            return Ok(has_begun.then(|| {
                format!(
                    "`{}` has no `inputs.json`, as it was begun by an earlier version: whether its files are those that it \
                     began with cannot be told; they are written down now",
                    run.path().display()
                )
            }));
        };
        let keys: BTreeSet<&String> = self.files.keys().map(|(key, _)| key).collect();
        let mut is_touched = false;
        let mut known = BTreeSet::new();
        for entry in &mut record.files {
            if !keys.contains(&entry.key) {
                continue; // it is not asked for
            }
            let place = (entry.key.clone(), entry.file.clone());
            let Some(path) = self.files.get(&place) else {
                let gone = "no file".to_owned();
                return Err(self.other(
                    run,
                    &entry.key,
                    Path::new(&entry.path),
                    [&entry.sha256, &gone],
                ));
            };
            known.insert(place);
            let stamp = stamp(path)?;
            if stamp == (entry.bytes, entry.changed_ns) && stamp.1.is_some() {
                continue;
            }
            let found = InputFile::read(path)?.sha256;
            if found != entry.sha256 {
                return Err(self.other(run, &entry.key, path, [&entry.sha256, &found]));
            }
            (entry.bytes, entry.changed_ns) = stamp;
            is_touched = true;
        }
        let is_recorded = |key: &String| known.iter().any(|(known, _)| known == key);
        let mut new = self
            .files
            .iter()
            .filter(|(place, _)| !known.contains(*place));
        if let Some(((key, _), path)) = new.find(|((key, _), _)| is_recorded(key)) {
            let found = InputFile::read(path)?.sha256;
            return Err(self.other(run, key, path, [&"no file".to_owned(), &found]));
        }
        if is_touched {
            // Only spares the next one the hashing; a folder that cannot be written to is no reason to stop.
            let _ = write_record(run, &record);
        }
        Ok(None)
    }

    /// Writes down what the files of `run` are, if it begins now; otherwise as [`Self::check`].
    pub(crate) fn keep(&self, run: &RunDir) -> Result<(), TrainError> {
        if run.inputs().is_file() {
            return self.check(run).map(drop);
        }
        let entry = |((key, file), path): (&Place, &PathBuf)| -> Result<Entry, TrainError> {
            let (bytes, changed_ns) = stamp(path)?;
            Ok(Entry {
                key: key.clone(),
                file: file.clone(),
                path: path.to_string_lossy().into_owned(),
                bytes,
                changed_ns,
                sha256: InputFile::read(path)?.sha256,
            })
        };
        let files = self.files.iter().map(entry).collect::<Result<_, _>>()?;
        Ok(write_record(run, &Record { files })?)
    }

    fn other(&self, run: &RunDir, key: &str, path: &Path, hashes: [&String; 2]) -> TrainError {
        let [expected, found] = hashes.map(|hash| match hash.get(..12) {
            Some(start) => format!("SHA-256 {start}.."),
            None => hash.clone(),
        });
        TrainError::OtherInput {
            key: key.to_owned(),
            path: path.to_owned(),
            run: run.path().to_owned(),
            difference: format!("expected {expected}, found {found}"),
            init: self.init,
        }
    }
}

fn read_record(run: &RunDir) -> Result<Option<Record>, TrainError> {
    let path = run.inputs();
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let action = "read";
            return Err(TrainError::File {
                action,
                path,
                source,
            });
        }
    };
    serde_json::from_slice(&text).map_err(|error| TrainError::Damaged {
        path,
        reason: error.to_string(),
    })
}

fn write_record(run: &RunDir, record: &Record) -> Result<(), EventsError> {
    let json = serde_json::to_string_pretty(record).expect("plain data serialises");
    atomic_write(run.inputs(), json)
}

/// Size and time of the last change.
fn stamp(path: &Path) -> Result<(u64, Option<u64>), TrainError> {
    let metadata = fs::metadata(path).map_err(|source| TrainError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok((metadata.len(), changed_ns(&metadata)))
}

/// The time of the file's record (ctime): the time of its content can be set back, as copying tools do.
#[cfg(unix)]
fn changed_ns(metadata: &fs::Metadata) -> Option<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let seconds = u64::try_from(metadata.ctime()).ok()?;
    Some(seconds * 1_000_000_000 + u64::try_from(metadata.ctime_nsec()).ok()?)
}

/// There is no such time: every file is read again.
#[cfg(not(unix))]
fn changed_ns(_: &fs::Metadata) -> Option<u64> {
    None
}

/// The file `path`, or what is read of the folder there, with the places in it.
fn read_files(path: &Path) -> Result<Vec<(String, PathBuf)>, TrainError> {
    if !path.is_dir() {
        return Ok(vec![(String::new(), path.to_owned())]);
    }
    if path.join(INDEX).is_file() {
        return files_of_pipeline(path);
    }
    let mut found = Vec::new();
    let mut folders = vec![(String::new(), path.to_owned())];
    while let Some((place, folder)) = folders.pop() {
        let mut here = Vec::new();
        for name in names(&folder)? {
            let path = folder.join(&name);
            if path.is_dir() {
                folders.push((format!("{place}{name}/"), path));
            } else if is_read(&path) {
                here.push((format!("{place}{name}"), path));
            }
        }
        let has_plain = here
            .iter()
            .any(|(name, path)| is_weights(path) && !is_variant(name));
        here.retain(|(name, _)| !(has_plain && is_variant(name)));
        found.append(&mut here);
    }
    Ok(found)
}

/// The index of a pipeline, and of each part its config, the weights that are loaded, or its tokenizer.
fn files_of_pipeline(folder: &Path) -> Result<Vec<(String, PathBuf)>, TrainError> {
    let mut places = vec![INDEX.to_owned()];
    let parts = component_names().into_iter();
    for part in parts.filter(|part| folder.join(part).is_dir()) {
        let files: BTreeSet<String> = if part.starts_with("tokenizer") {
            let names = names(&folder.join(part))?.into_iter();
            names.filter(|name| is_read(Path::new(name))).collect()
        } else if part == "scheduler" {
            ["scheduler_config.json".to_owned()].into()
        } else {
            // What is wrong with the weights is said where they are loaded.
            let weights = weights_of_part(folder, part).and_then(|weights| weights.names());
            let config = ["config.json".to_owned()].into_iter();
            config.chain(weights.unwrap_or_default()).collect()
        };
        places.extend(files.into_iter().map(|name| format!("{part}/{name}")));
    }
    let files = places.into_iter().map(|place| {
        let path = folder.join(&place);
        (place, path)
    });
    Ok(files.filter(|(_, path)| path.is_file()).collect())
}

/// What lies in `folder`, but hidden files.
fn names(folder: &Path) -> Result<Vec<String>, TrainError> {
    let failed = |source| TrainError::File {
        action: "read",
        path: folder.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.retain(|name| !name.starts_with('.'));
    Ok(names)
}

fn is_read(path: &Path) -> bool {
    let ending = path.extension();
    ending.is_some_and(|ending| ENDINGS.iter().any(|read| ending == OsStr::new(read)))
}

fn is_weights(path: &Path) -> bool {
    path.extension() == Some(OsStr::new("safetensors"))
}

/// `model.fp16.safetensors`, and of shards `model.fp16-00001-of-00002.safetensors`.
fn is_variant(name: &str) -> bool {
    let is_mark = |part: &str| {
        VARIANTS
            .iter()
            .any(|mark| part == *mark || part.starts_with(&format!("{mark}-")))
    };
    name.split('.').skip(1).any(is_mark)
}

#[cfg(test)]
mod tests;
