//! Writes what a run logs: `metrics.jsonl`, TensorBoard events, and the clock over all resumes.

use std::{collections::BTreeMap, fs, io::ErrorKind, time::Instant};

use dmdr_events::{EventsError, Kind, MetricsWriter, Record, RunDir, TensorBoardWriter};

/// The numbers of one run.
#[derive(Debug)]
pub struct Recorder {
    metrics: MetricsWriter,
    tensorboard: TensorBoardWriter,
    wall_before: f64,
    started: Instant,
}

impl Recorder {
    /// Opens the run's files; `resume` = (updates done, seconds so far) drops what was logged after that.
    ///
    /// # Errors
    /// If they cannot be opened.
    pub fn open(run: &RunDir, resume: Option<(u64, f64)>) -> Result<Self, EventsError> {
        if matches!(resume, Some((0, _))) {
            // Killed before the first checkpoint: everything is done again.
            let path = run.metrics();
            if let Err(source) = fs::remove_file(&path)
                && source.kind() != ErrorKind::NotFound
            {
                return Err(EventsError::Io {
                    action: "remove",
                    path,
                    source,
                });
            }
        }
        // Records carry the update index from 0, so the last one kept is `update - 1`.
        let last = resume.and_then(|(update, _)| update.checked_sub(1));
        Ok(Self {
            metrics: MetricsWriter::open(run.metrics(), last)?,
            tensorboard: TensorBoardWriter::open(run.tensorboard(), last)?,
            wall_before: resume.map_or(0.0, |(_, wall_s)| wall_s),
            started: Instant::now(),
        })
    }

    /// Seconds of training, over all resumes.
    pub fn wall_s(&self) -> f64 {
        self.wall_before + self.started.elapsed().as_secs_f64()
    }

    /// Appends the numbers of update `update`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn record(
        &mut self,
        update: u64,
        kind: Kind,
        values: &BTreeMap<String, f64>,
    ) -> Result<(), EventsError> {
        let values = values.iter().map(|(name, value)| (name.clone(), *value));
        let record = Record::new(update, kind, self.wall_s(), values);
        self.metrics.append(&record)?;
        self.tensorboard.append(&record)
    }
}
