//! [`EvalReport`]: the metrics of one set of weights on one split.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic::atomic_write;
use crate::error::EventsError;
use crate::input::InputFile;
use crate::number;

/// What was evaluated, how, and what came out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalReport {
    /// What was evaluated, such as `teacher` or `student`.
    pub what: String,
    /// The weights, as a path or name.
    pub checkpoint: String,
    /// The towers that scored, by metric.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub towers: BTreeMap<String, InputFile>,
    /// Split of the prompts, such as `validation` or `test`, or a benchmark, such as `geneval`.
    pub split: String,
    /// Number of prompts; each is drawn once per seed.
    pub num_prompts: usize,
    /// Seeds of the noise; of images that somebody else drew, their numbers.
    pub seeds: Vec<u64>,
    /// Network evaluations per image (NFE); guidance doubles them. 0 where it is not known how the images were drawn.
    pub num_evaluations: usize,
    /// Classifier-free guidance; 1 = none, NaN = not known.
    #[serde(with = "number::one")]
    pub guidance: f64,
    /// Metrics by name.
    pub metrics: BTreeMap<String, Statistic>,
    /// Speed of sampling; NaN = not known.
    #[serde(with = "number::one")]
    pub images_per_second: f64,
    /// The command line that made this.
    pub command: String,
    /// The commit of the program.
    pub commit: String,
    /// The machine, in words: processor, device, threads.
    pub machine: String,
}

/// A metric over seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statistic {
    /// Mean over seeds.
    #[serde(with = "number::one")]
    pub mean: f64,
    /// Sample standard deviation over seeds (`n - 1`); 0 for one seed.
    #[serde(with = "number::one")]
    pub std: f64,
    /// The value of each seed, in the order of the report's seeds.
    #[serde(with = "number::list")]
    pub per_seed: Vec<f64>,
}

impl Statistic {
    /// Mean and deviation of values per seed; NaN without any.
    pub fn of(per_seed: Vec<f64>) -> Self {
        let n = per_seed.len() as f64;
        let mean = per_seed.iter().sum::<f64>() / n;
        let squares: f64 = per_seed.iter().map(|value| (value - mean).powi(2)).sum();
        let std = match per_seed.len() {
            0 => f64::NAN,
            1 => 0.0,
            _ => (squares / (n - 1.0)).sqrt(),
        };
        Self {
            mean,
            std,
            per_seed,
        }
    }
}

impl EvalReport {
    /// Writes pretty JSON, atomically.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), EventsError> {
        write_json(path.as_ref(), self, "evaluation report")
    }

    /// Reads what [`EvalReport::write`] wrote.
    ///
    /// # Errors
    /// The file cannot be read or is not a report.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, EventsError> {
        read_json(path.as_ref(), "evaluation report")
    }
}

/// Pretty JSON with a newline at the end, atomically.
pub(crate) fn write_json<T: Serialize>(
    path: &Path,
    value: &T,
    what: &'static str,
) -> Result<(), EventsError> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|source| EventsError::Json {
        path: path.to_owned(),
        what,
        source,
    })?;
    bytes.push(b'\n');
    atomic_write(path, bytes)
}

pub(crate) fn read_json<T: for<'de> Deserialize<'de>>(
    path: &Path,
    what: &'static str,
) -> Result<T, EventsError> {
    let bytes = fs::read(path).map_err(EventsError::io("read", path))?;
    serde_json::from_slice(&bytes).map_err(|source| EventsError::Json {
        path: path.to_owned(),
        what,
        source,
    })
}
