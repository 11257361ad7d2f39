//! Checkpoints: a folder that appears whole or not at all, with a manifest of sizes and hashes.
//!
//! Files go to a hidden temporary folder, each synced; the folder is renamed last. A run killed at any moment has
//! the previous checkpoints and perhaps a leftover temporary folder, which the next save removes.

use std::{
    collections::BTreeMap,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use dmdr_events::{EventsError, InputFile, RunDir, atomic_write};
use dmdr_tensor::{AdamW, Kind, ParamStore};
use serde::{Deserialize, Serialize};

use crate::TrainError;

/// A stateful thing that is saved and restored.
#[derive(Debug)]
pub enum Part<'a> {
    /// Parameters, f32.
    Params(&'a ParamStore),
    /// Optimiser moments.
    Optimizer(&'a mut AdamW),
}

/// What a checkpoint says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Updates done.
    pub update: u64,
    /// Hash of the resolved config.
    pub config: String,
    /// Batches that an update takes together, over all processes: a run that goes on has as many.
    #[serde(default = "one")]
    pub batches: u64,
    /// Seconds of training so far.
    pub wall_s: f64,
    /// Size and SHA-256 of each file.
    pub files: BTreeMap<String, FileRecord>,
}

/// One file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRecord {
    /// Bytes.
    pub bytes: u64,
    /// Hex digest.
    pub sha256: String,
}

fn one() -> u64 {
    1
}

const MANIFEST: &str = "manifest.json";

/// The checkpoints of a run.
#[derive(Debug)]
pub struct Checkpoint<'a> {
    run: &'a RunDir,
    config: String,
    batches: u64,
    keep: usize,
}

impl<'a> Checkpoint<'a> {
    /// Checkpoints of `run` under the config with this hash; the newest `keep` are kept.
    pub fn new(run: &'a RunDir, config: String, keep: usize) -> Self {
        Self {
            run,
            config,
            batches: 1,
            keep,
        }
    }

    /// Of a run whose updates take `batches` together.
    #[must_use]
    pub fn taking(self, batches: u64) -> Self {
        Self { batches, ..self }
    }

    /// How many batches an update of `run` takes together; none before its first checkpoint.
    ///
    /// # Errors
    /// If the folder cannot be listed.
    pub fn batches_of(run: &RunDir) -> Result<Option<u64>, TrainError> {
        let all = run.list_checkpoints()?;
        let manifest = all.last().map(|(_, folder)| read_manifest(folder));
        Ok(manifest
            .and_then(Result::ok)
            .map(|manifest| manifest.batches))
    }

    /// Saves `parts` as the state after `update` updates.
    ///
    /// # Errors
    /// If something cannot be written; earlier checkpoints are untouched.
    pub fn save<S: AsRef<str>>(
        &self,
        update: u64,
        wall_s: f64,
        parts: &[(S, Part<'_>)],
    ) -> Result<PathBuf, TrainError> {
        let folder = self.run.checkpoint(update);
        let temporary = self.run.checkpoints().join(format!(".tmp-{update:06}"));
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| EventsError::Io {
                action,
                path,
                source,
            }
        };
        remove(&temporary)?;
        fs::create_dir_all(&temporary).map_err(io("create", &temporary))?;
        let mut files = BTreeMap::new();
        for (name, part) in parts {
            let file = format!("{}.safetensors", name.as_ref());
            let path = temporary.join(&file);
            match part {
                Part::Params(store) => store.save(&path, Kind::Float, &BTreeMap::new())?,
                Part::Optimizer(adamw) => adamw.save(&path)?,
            }
            files.insert(file, describe(&path)?);
        }
        let manifest = Manifest {
            update,
            config: self.config.clone(),
            batches: self.batches,
            wall_s,
            files,
        };
        let text = serde_json::to_string_pretty(&manifest).expect("plain data serialises");
        atomic_write(temporary.join(MANIFEST), text)?;
        remove(&folder)?;
        fs::rename(&temporary, &folder).map_err(io("rename", &temporary))?;
        fs::File::open(self.run.checkpoints())
            .and_then(|parent| parent.sync_all())
            .map_err(io("sync", &folder))?;
        self.prune()?;
        Ok(folder)
    }

    /// Restores the newest checkpoint into `parts`; returns (updates done, seconds so far), both 0 if there is none.
    ///
    /// # Errors
    /// A checkpoint of another config, or a damaged one.
    pub fn load_latest<S: AsRef<str>>(
        &self,
        parts: &mut [(S, Part<'_>)],
    ) -> Result<(u64, f64), TrainError> {
        let all = self.run.list_checkpoints()?;
        match all.last() {
            Some((update, _)) => self.load(*update, parts),
            None => Ok((0, 0.0)),
        }
    }

    /// As [`Self::load_latest`], of the one after `update` updates.
    ///
    /// # Errors
    /// As there.
    pub fn load<S: AsRef<str>>(
        &self,
        update: u64,
        parts: &mut [(S, Part<'_>)],
    ) -> Result<(u64, f64), TrainError> {
        let folder = &self.run.checkpoint(update);
        let all = self.run.list_checkpoints()?;
        let before = all.iter().rev().find(|(earlier, _)| *earlier < update);
        let damaged = |reason: String| TrainError::DamagedCheckpoint {
            folder: folder.clone(),
            reason,
            way_out: match before {
                Some((update, _)) => {
                    format!("remove this folder, and `--resume` goes on from update {update}")
                }
                None => "remove this folder, and `--resume` starts the training anew".to_owned(),
            },
        };
        let manifest = read_manifest(folder).map_err(damaged)?;
        if manifest.config != self.config {
            return Err(TrainError::OtherConfig {
                path: folder.clone(),
                expected: self.config.clone(),
                found: manifest.config,
            });
        }
        if manifest.batches != self.batches {
            return Err(TrainError::OtherBatches {
                path: folder.clone(),
                expected: manifest.batches,
                found: self.batches,
            });
        }
        for (file, expected) in &manifest.files {
            let found = describe(&folder.join(file)).map_err(|error| damaged(error.to_string()))?;
            if found != *expected {
                return Err(damaged(format!(
                    "`{file}` should have {} bytes with SHA-256 {:.12}.., and has {} bytes with {:.12}..",
                    expected.bytes, expected.sha256, found.bytes, found.sha256
                )));
            }
        }
        for (name, part) in parts {
            let path = folder.join(format!("{}.safetensors", name.as_ref()));
            match part {
                Part::Params(store) => drop(store.load(&path)?),
                Part::Optimizer(adamw) => adamw.load(&path)?,
            }
        }
        Ok((manifest.update, manifest.wall_s))
    }

    fn prune(&self) -> Result<(), TrainError> {
        let all = self.run.list_checkpoints()?;
        for (_, folder) in &all[..all.len().saturating_sub(self.keep)] {
            remove(folder)?;
        }
        Ok(())
    }
}

/// Whether something that happens every `every` updates (0 = never) is due after `done` updates.
pub(crate) fn due(done: u64, every: u64) -> bool {
    every != 0 && done.is_multiple_of(every)
}

fn remove(folder: &Path) -> Result<(), EventsError> {
    match fs::remove_dir_all(folder) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(EventsError::Io {
            action: "remove",
            path: folder.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// The manifest in `folder`, or what is wrong with it.
fn read_manifest(folder: &Path) -> Result<Manifest, String> {
    let of_manifest = |what: &dyn std::fmt::Display| format!("`{MANIFEST}`: {what}");
    let text = fs::read(folder.join(MANIFEST)).map_err(|error| of_manifest(&error))?;
    serde_json::from_slice(&text).map_err(|error| of_manifest(&error))
}

fn describe(path: &Path) -> Result<FileRecord, EventsError> {
    let hashed = InputFile::read(path)?;
    let metadata = fs::metadata(path).map_err(|source| EventsError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(FileRecord {
        bytes: metadata.len(),
        sha256: hashed.sha256,
    })
}

#[cfg(test)]
mod tests {
    use dmdr_events::OwnedRun;
    use dmdr_tensor::{Device, Init, Scope};

    use super::*;

    fn store(seed: u64) -> ParamStore {
        let store = ParamStore::trainable(Device::Cpu, seed);
        let _ = Scope::root(&store, &[]).param("w", &[4], Init::Normal(1.0));
        store
    }

    fn run(dir: &Path) -> OwnedRun {
        let run = OwnedRun::create(dir, "r").expect("writable");
        run.write_config("name = \"r\"").expect("writable");
        run
    }

    #[test]
    fn round_trip_prune_and_damage() {
        let dir = tempfile::tempdir().expect("temp dir");
        let run = run(dir.path());
        let checkpoints = Checkpoint::new(&run, "abc".into(), 2);
        let saved = store(1);
        for update in [10, 20, 30] {
            checkpoints
                .save(update, 1.5, &[("model", Part::Params(&saved))])
                .expect("writable");
        }
        let updates: Vec<u64> = run
            .list_checkpoints()
            .expect("listed")
            .into_iter()
            .map(|(update, _)| update)
            .collect();
        assert_eq!(updates, [20, 30]);

        let loaded = store(2);
        let found = checkpoints
            .load_latest(&mut [("model", Part::Params(&loaded))])
            .expect("whole");
        assert_eq!(found, (30, 1.5));
        assert_eq!(loaded.group().tensors[0], saved.group().tensors[0]);

        let other = Checkpoint::new(&run, "xyz".into(), 2);
        let error = other
            .load_latest::<&str>(&mut [])
            .expect_err("other config")
            .to_string();
        assert!(
            error.contains("made with config abc, the run's `config.toml` is now xyz"),
            "{error}"
        );

        let file = run.checkpoint(30).join("model.safetensors");
        let mut bytes = fs::read(&file).expect("readable");
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        fs::write(&file, bytes).expect("writable");
        let refused = || {
            let loaded = checkpoints.load_latest(&mut [("model", Part::Params(&loaded))]);
            loaded.expect_err("damaged").to_string()
        };
        let error = refused();
        assert!(
            error.contains("update-000030` is damaged: `model.safetensors`")
                && error.ends_with("remove this folder, and `--resume` goes on from update 20"),
            "{error}"
        );

        // The way out is followed; then only one is left.
        fs::remove_dir_all(run.checkpoint(30)).expect("there");
        fs::remove_file(run.checkpoint(20).join("model.safetensors")).expect("there");
        let error = refused();
        assert!(
            error.contains("No such file") && error.ends_with("starts the training anew"),
            "{error}"
        );
        fs::write(run.checkpoint(20).join(MANIFEST), "{").expect("writable");
        assert!(refused().contains("`manifest.json`: EOF"));
        fs::remove_dir_all(run.checkpoint(20)).expect("there");
        let (update, _) = checkpoints.load_latest::<&str>(&mut []).expect("anew");
        assert_eq!(update, 0);
    }

    #[test]
    fn a_torn_save_is_invisible() {
        let dir = tempfile::tempdir().expect("temp dir");
        let run = run(dir.path());
        let checkpoints = Checkpoint::new(&run, "abc".into(), 2);
        checkpoints
            .save(1, 0.0, &[("model", Part::Params(&store(1)))])
            .expect("writable");
        let torn = run.checkpoints().join(".tmp-000002");
        fs::create_dir(&torn).expect("writable");
        fs::write(torn.join("model.safetensors"), b"half").expect("writable");
        let (update, _) = checkpoints
            .load_latest(&mut [("model", Part::Params(&store(2)))])
            .expect("the whole one");
        assert_eq!(update, 1);
        checkpoints
            .save(2, 0.0, &[("model", Part::Params(&store(1)))])
            .expect("writable");
        assert!(!torn.exists());
    }
}
