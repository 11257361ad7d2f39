//! The loop of distillation and pretraining. Read from top to bottom, [`train`] is a run in order.

use std::{collections::BTreeMap, path::Path, time::Instant};

use dmdr_config::Events;
use dmdr_events::{Kind, OwnedRun, Record, RunDir};

use crate::{Checkpoint, Observer, Outcome, Part, Recorder, TrainError, run::checkpoint::due};

/// What is trained, and what is done with it on the way.
pub(crate) trait Course {
    /// What a checkpoint holds.
    fn parts(&mut self) -> Vec<(String, Part<'_>)>;

    /// One update; a batch that makes a number that is not finite is kept in `run`.
    fn update(&mut self, update: u64, run: &Path) -> Result<BTreeMap<String, f64>, TrainError>;

    /// Before the first update of a run whose samples are drawn.
    fn begin(&mut self, _run: &RunDir, _observer: &mut dyn Observer) -> Result<(), TrainError> {
        Ok(())
    }

    /// Takes up what was logged before.
    fn recall(&mut self, _log: &[Record]) {}

    /// Whether it ends before its last update.
    fn is_over(&self) -> bool {
        false
    }

    /// Writes a sheet of samples to `path`, if there is anything to draw.
    fn sample(&self, path: &Path) -> Result<bool, TrainError>;

    /// Measures the student.
    fn evaluate(&self) -> Result<BTreeMap<String, f64>, TrainError> {
        Ok(BTreeMap::new())
    }

    /// Draws conclusions from a measurement after `update`.
    fn judge(
        &mut self,
        _update: u64,
        _values: &BTreeMap<String, f64>,
        _run: &RunDir,
        _observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        Ok(())
    }

    /// What there is to warn of since it was asked last.
    fn complaints(&self) -> Vec<String> {
        Vec::new()
    }

    /// Writes the results.
    fn finish(&mut self, run: &RunDir, observer: &mut dyn Observer) -> Result<(), TrainError>;
}

/// How long a run is and when what is due.
pub(crate) struct Schedule<'a> {
    /// Updates of the whole run.
    pub(crate) num_updates: u64,
    /// When it logs, samples, evaluates and saves.
    pub(crate) events: &'a Events,
    /// Hash of the config that checkpoints belong to.
    pub(crate) identity: String,
}

/// Trains to the end, or until the observer asks to stop. With `resume` it continues from the newest checkpoint, or from the
/// beginning if none was written yet, to the same numbers as a run that was never stopped.
///
/// # Errors
/// A number that is not finite, a damaged checkpoint, or a file that cannot be written.
pub(crate) fn train(
    course: &mut dyn Course,
    Schedule {
        num_updates,
        events,
        identity,
    }: Schedule<'_>,
    run: &OwnedRun,
    resume: bool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let checkpoints = Checkpoint::new(run, identity, events.keep_checkpoints);
    let resumed = if resume {
        Some(checkpoints.load_latest(&mut course.parts())?)
    } else {
        None
    };
    if resumed.is_some_and(|(update, _)| update == 0) {
        check_nothing_lost(run, events.checkpoint_every)?;
    }
    let mut recorder = Recorder::open(run, resumed)?;
    if resumed.is_none_or(|(update, _)| update == 0) && events.sample_every > 0 {
        course.begin(run, observer)?;
    }
    course.recall(&dmdr_events::read(run.metrics())?);

    for update in resumed.map_or(0, |(update, _)| update)..num_updates {
        if course.is_over() {
            break;
        }
        let started = Instant::now();
        let updated = course.update(update, run.path());
        // A batch that was kept for study is worth a folder as well.
        if matches!(updated, Ok(_) | Err(TrainError::NotFinite { .. })) {
            run.keep();
        }
        let mut numbers = updated?;
        numbers.insert("time/update_s".into(), started.elapsed().as_secs_f64());

        // Nothing below can change a number of the training: every update reseeds.
        let done = update + 1;
        if due(done, events.log_every) {
            recorder.record(update, Kind::Train, &numbers)?;
        }
        observer.updated(done, num_updates, &numbers);
        pass_on(course, done, observer);
        if due(done, events.sample_every) {
            sample(course, run, done, observer)?;
        }
        if due(done, events.evaluate_every) {
            let values = course.evaluate()?;
            recorder.record(update, Kind::Evaluate, &values)?;
            observer.evaluated(done, &values);
            pass_on(course, done, observer);
            course.judge(update, &values, run, observer)?;
        }
        let stop = observer.interrupted();
        let is_last = done == num_updates || course.is_over();
        if due(done, events.checkpoint_every) || stop || is_last {
            let wall_s = recorder.wall_s();
            let path = checkpoints.save(done, wall_s, &course.parts())?;
            observer.wrote("checkpoint", &path);
        }
        if stop {
            return Ok(Outcome::Interrupted { update: done });
        }
    }
    course.finish(run, observer)?;
    Ok(Outcome::Finished)
}

/// Refuses a run whose records go beyond its first checkpoint, every `every` updates, where none is there: to start it anew
/// would throw away what it has.
fn check_nothing_lost(run: &RunDir, every: u64) -> Result<(), TrainError> {
    let records = dmdr_events::read(run.metrics())?;
    match records.last().map(|record| record.update + 1) {
        Some(done) if every > 0 && done > every => Err(TrainError::LostCheckpoints {
            run: run.path().to_owned(),
            done,
        }),
        _ => Ok(()),
    }
}

/// Draws the samples after `done` updates.
pub(crate) fn sample(
    course: &dyn Course,
    run: &RunDir,
    done: u64,
    observer: &mut dyn Observer,
) -> Result<(), TrainError> {
    let path = run.sample(done);
    if course.sample(&path)? {
        observer.wrote("samples", &path);
    }
    Ok(())
}

/// Tells `observer` what there is to warn of.
fn pass_on(course: &dyn Course, done: u64, observer: &mut dyn Observer) {
    for complaint in course.complaints() {
        observer.warned(&format!("after update {done}: {complaint}"));
    }
}
