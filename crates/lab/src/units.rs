//! What is finished of a laboratory: one file for each arm and seed, so that a stopped lab goes on where it was.

use std::fs;
use std::path::{Path, PathBuf};

use dmdr_events::atomic_write;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::LabError;

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
    /// What `work` fails with, or a file that cannot be written.
    pub fn get<T: Serialize + DeserializeOwned>(
        &self,
        arm: &str,
        seed: u64,
        settings: &str,
        work: impl FnOnce() -> Result<T, LabError>,
    ) -> Result<T, LabError> {
        let path = self.folder.join(arm).join(format!("seed-{seed}.json"));
        let finished = fs::read_to_string(&path)
            .ok()
            .and_then(|text| serde_json::from_str::<Finished<T>>(&text).ok())
            .filter(|finished| finished.settings == settings);
        if let Some(finished) = finished {
            return Ok(finished.outcome);
        }
        let finished = Finished {
            settings: settings.to_owned(),
            outcome: work()?,
        };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(LabError::io("create", parent))?;
        }
        let text = serde_json::to_string(&finished).expect("plain numbers serialise");
        atomic_write(&path, text)?;
        Ok(finished.outcome)
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
}
