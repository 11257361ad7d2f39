//! The loop of distillation and pretraining. Read from top to bottom, [`train`] is a run in order.

use std::{collections::BTreeMap, path::Path, time::Instant};

use dmdr_config::Events;
use dmdr_events::{Kind, OwnedRun, Record, RunDir};
use dmdr_tensor::Ranks;

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

    /// What a guard leaves of the weight of reinforcement learning, which the first process decides.
    fn factor(&self) -> f64 {
        1.0
    }

    /// Takes what the first process decided.
    fn heed(&mut self, _factor: f64) {}

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
    /// Batches that an update takes together, over all processes.
    pub(crate) batches: u64,
    /// The processes that train together.
    pub(crate) ranks: Ranks,
}

impl Schedule<'_> {
    fn checkpoints<'a>(&self, run: &'a RunDir) -> Checkpoint<'a> {
        Checkpoint::new(run, self.identity.clone(), self.events.keep_checkpoints)
            .taking(self.batches)
    }
}

/// Trains to the end, or until the observer asks to stop. With `resume` it continues from the newest checkpoint, or from the
/// beginning if none was written yet, to the same numbers as a run that was never stopped.
///
/// # Errors
/// A number that is not finite, a damaged checkpoint, or a file that cannot be written.
pub(crate) fn train(
    course: &mut dyn Course,
    schedule: &Schedule<'_>,
    run: &OwnedRun,
    resume: bool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let checkpoints = schedule.checkpoints(run);
    let &Schedule {
        num_updates,
        events,
        ranks,
        ..
    } = schedule;
    let resumed = if resume {
        Some(checkpoints.load_latest(&mut course.parts())?)
    } else {
        None
    };
    if resumed.is_some_and(|(update, _)| update == 0) {
        check_nothing_lost(run, events.checkpoint_every)?;
    }
    let mut recorder = Recorder::open(run, resumed)?;
    ranks.lead(|| {
        if resumed.is_none_or(|(update, _)| update == 0) && events.sample_every > 0 {
            course.begin(run, observer)?;
        }
        Ok::<_, TrainError>(())
    })??;
    course.recall(&dmdr_events::read(run.metrics())?);
    let start = resumed.map_or(0, |(update, _)| update);
    ranks.of_first(&[start as f64])?;

    for update in start..num_updates {
        let decided = [f64::from(course.is_over()), course.factor()];
        ranks.of_first(&decided)?;
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
        ranks.lead(|| {
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
            Ok::<_, TrainError>(())
        })??;
        let stop = ranks.max(&[f64::from(observer.interrupted())])? != [0.0];
        let is_last = done == num_updates || course.is_over();
        let saves = due(done, events.checkpoint_every) || stop || is_last;
        ranks.of_first(&[f64::from(saves)])?;
        if saves {
            let wall_s = recorder.wall_s();
            let mut parts = course.parts();
            gather(&mut parts)?;
            let path = checkpoints.save(done, wall_s, &parts)?;
            scatter(&mut parts);
            drop(parts);
            observer.wrote("checkpoint", &path);
        }
        if stop {
            return Ok(Outcome::Interrupted { update: done });
        }
    }
    ranks.lead(|| course.finish(run, observer))??;
    Ok(Outcome::Finished)
}

/// Trains in step with the first process, which writes, measures and decides.
///
/// # Errors
/// As for [`train`], or a process that is gone or hangs.
pub(crate) fn follow(
    course: &mut dyn Course,
    schedule: &Schedule<'_>,
    run: &RunDir,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let ranks = schedule.ranks;
    ranks.serve()?;
    let start = ranks.of_first(&[0.0])?[0] as u64;
    if start > 0 {
        let checkpoints = schedule.checkpoints(run);
        checkpoints.load(start, &mut course.parts())?;
        course.recall(&dmdr_events::read(run.metrics())?);
    }
    for update in start..schedule.num_updates {
        let decided = ranks.of_first(&[0.0, 1.0])?;
        if decided[0] != 0.0 {
            break;
        }
        course.heed(decided[1]);
        course.update(update, run.path())?;
        pass_on(course, update + 1, observer);
        ranks.serve()?;
        let stop = ranks.max(&[f64::from(observer.interrupted())])? != [0.0];
        if ranks.of_first(&[0.0])? != [0.0] {
            gather(&mut course.parts())?;
        }
        if stop {
            return Ok(Outcome::Interrupted { update: update + 1 });
        }
    }
    ranks.serve()?;
    Ok(Outcome::Finished)
}

/// Brings together what processes have divided of the parts of a checkpoint.
fn gather<S>(parts: &mut [(S, Part<'_>)]) -> Result<(), TrainError> {
    for (_, part) in parts {
        if let Part::Optimizer(adamw) = part {
            adamw.gather()?;
        }
    }
    Ok(())
}

/// Lets go of it.
fn scatter<S>(parts: &mut [(S, Part<'_>)]) {
    for (_, part) in parts {
        if let Part::Optimizer(adamw) = part {
            adamw.scatter();
        }
    }
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
