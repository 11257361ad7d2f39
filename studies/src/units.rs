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

/// What `make` makes of every item, in their order; those that another process is at ([`LabError::Busy`]) are asked for
/// again later.
///
/// # Errors
/// What `make` fails with otherwise.
pub(crate) fn share<I, T>(
    items: &[I],
    mut make: impl FnMut(&I) -> Result<T, LabError>,
) -> Result<Vec<T>, LabError> {
    let mut made: Vec<Option<T>> = items.iter().map(|_| None).collect();
    loop {
        for (item, slot) in items.iter().zip(&mut made) {
            if slot.is_none() {
                *slot = unless_busy(make(item))?;
            }
        }
        if made.iter().all(Option::is_some) {
            return Ok(made.into_iter().flatten().collect());
        }
        thread::sleep(PAUSE);
    }
}

/// None if another process is at it.
pub(crate) fn unless_busy<T>(outcome: Result<T, LabError>) -> Result<Option<T>, LabError> {
    match outcome {
        Err(LabError::Busy) => Ok(None),
        outcome => outcome.map(Some),
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
        fs::create_dir_all(root.path().join("dmd")).expect("folder");
        let mut held = Some(hold(&root.path().join("dmd/seed-3.lock")).expect("free"));
        let mut asked = Vec::new();
        let made = share(&[3, 4], |&seed| {
            asked.push(seed);
            let outcome = units.get("dmd", seed, "a", || Ok(seed));
            assert_eq!(outcome.is_err(), held.is_some() && seed == 3);
            if seed == 4 {
                held = None; // the other process ends
            }
            outcome
        });
        assert_eq!(made.expect("all in the end"), [3, 4]);
        assert_eq!(asked, [3, 4, 3]);
    }
}
