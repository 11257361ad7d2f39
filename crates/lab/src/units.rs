//! What is finished of a laboratory: one file for each arm and seed, so that a stopped lab goes on where it was, and
//! several processes can share the work.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use dmdr_events::atomic_write;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::LabError;

/// Between two looks at what another process is at.
const PAUSE: Duration = Duration::from_secs(2);

/// The folder of a study.
#[derive(Debug, Clone)]
pub struct Units {
    folder: PathBuf,
}

/// A finished unit with the settings it was made with.
#[derive(Serialize, Deserialize)]
struct Finished<T> {
    settings: String,
    outcome: T,
}

impl Units {
    /// In `folder`, which is made when the first unit is finished.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The outcome of `arm` with `seed`: read if it was finished with the same `settings`, made with `work` otherwise.
    ///
    /// # Errors
    /// What `work` fails with, a file that cannot be written, or [`LabError::Busy`] if another process is at it.
    pub fn get<T: Serialize + DeserializeOwned>(
        &self,
        arm: &str,
        seed: u64,
        settings: &str,
        work: impl FnOnce() -> Result<T, LabError>,
    ) -> Result<T, LabError> {
        let folder = self.folder.join(arm);
        let path = folder.join(format!("seed-{seed}.json"));
        if let Some(outcome) = finished(&path, settings) {
            return Ok(outcome);
        }
        fs::create_dir_all(&folder).map_err(LabError::io("create", &folder))?;
        let _held = hold(&folder.join(format!("seed-{seed}.lock")))?;
        // The process that held it may have finished it.
        if let Some(outcome) = finished(&path, settings) {
            return Ok(outcome);
        }
        let finished = Finished {
            settings: settings.to_owned(),
            outcome: work()?,
        };
        let text = serde_json::to_string(&finished).expect("plain numbers serialise");
        atomic_write(&path, text)?;
        Ok(finished.outcome)
    }
}

fn finished<T: DeserializeOwned>(path: &Path, settings: &str) -> Option<T> {
    let text = fs::read_to_string(path).ok()?;
    let finished: Finished<T> = serde_json::from_str(&text).ok()?;
    (finished.settings == settings).then_some(finished.outcome)
}

/// Locks the file at `path` until the result is dropped or the process ends, however it ends.
fn hold(path: &Path) -> Result<File, LabError> {
    let file = File::create(path).map_err(LabError::io("create", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LabError::Busy),
        Err(TryLockError::Error(source)) => Err(LabError::io("lock", path)(source)),
    }
}

/// Repeats `pass`, which goes through units and tells whether any was [`LabError::Busy`], until none is.
///
/// # Errors
/// What `pass` fails with.
pub(crate) fn share(mut pass: impl FnMut(&mut Shared) -> Result<(), LabError>) -> Result<(), LabError> {
    loop {
        let mut shared = Shared::default();
        pass(&mut shared)?;
        if !shared.is_busy {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
}

/// Whether a pass met units that another process is at.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    is_busy: bool,
}

impl Shared {
    /// The outcome, or none if another process is at it.
    ///
    /// # Errors
    /// All but [`LabError::Busy`].
    pub(crate) fn take<T>(&mut self, outcome: Result<T, LabError>) -> Result<Option<T>, LabError> {
        match outcome {
            Err(LabError::Busy) => {
                self.is_busy = true;
                Ok(None)
            }
            outcome => outcome.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_units_are_not_made_again() {
        let root = tempfile::tempdir().expect("temp dir");
        let units = Units::new(root.path().join("fig0"));
        let get = |settings: &str, value: f64| {
            units
                .get("dmd", 3, settings, || Ok(value))
                .expect("written")
        };
        assert_eq!(get("a", 1.0).to_bits(), 1.0_f64.to_bits());
        assert_eq!(get("a", 2.0).to_bits(), 1.0_f64.to_bits(), "kept");
        assert_eq!(get("b", 3.0).to_bits(), 3.0_f64.to_bits(), "other settings");
        fs::write(root.path().join("fig0/dmd/seed-3.json"), "{").expect("written");
        assert_eq!(get("b", 4.0).to_bits(), 4.0_f64.to_bits(), "torn");
    }

    #[test]
    fn what_another_process_is_at_is_left_to_it() {
        let root = tempfile::tempdir().expect("temp dir");
        let units = Units::new(root.path());
        let lock = root.path().join("dmd/seed-3.lock");
        fs::create_dir_all(root.path().join("dmd")).expect("folder");
        let mut held = Some(hold(&lock).expect("free"));
        let mut passes = 0;
        share(|shared| {
            passes += 1;
            let outcome = shared.take(units.get("dmd", 3, "a", || Ok(1.0)))?;
            assert_eq!(outcome.is_some(), held.is_none());
            held = None;
            Ok(())
        })
        .expect("finished");
        assert_eq!(passes, 2);
    }
}
