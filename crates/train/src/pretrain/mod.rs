//! Pretraining of the emoji world's networks: teacher, World-CLIP, preference models.

mod objective;
mod preference;
mod repaint;
mod teacher;
mod world_clip;

use std::{collections::BTreeMap, time::Instant};

use dmdr_config::{Pretrain, PretrainModel};
use dmdr_events::{Kind, OwnedRun, atomic_write};
use dmdr_tensor::{ParamStore, device, reseed};
use dmdr_world::World;

use crate::{
    Checkpoint, Inputs, Observer, Outcome, Part, Recorder, TrainError, Update, checkpoint::due,
    world,
};

pub use objective::Objective;

/// What a pretraining minimises, with everything loaded: bad inputs are errors before a folder is made.
///
/// # Errors
/// An input that is missing, unreadable or does not fit.
pub fn objective(config: &Pretrain) -> Result<Box<dyn Objective>, TrainError> {
    build(config, world(config.world.preset)?)
}

/// Runs (or resumes) the pretraining of `objective`, which is that of `config`, in `run` and writes the result to
/// `run/model.safetensors`.
///
/// # Errors
/// Files that changed since the run began, a loss that is not finite, or a file that cannot be written.
pub fn pretrain(
    config: &Pretrain,
    objective: &dyn Objective,
    run: &OwnedRun,
    resume: bool,
    notes: &BTreeMap<String, String>,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    Inputs::of_pretraining(config)?.keep(run)?;
    let store = objective.store();
    let mut update = Update::new("model", store.group(), &config.optim);
    let ema = config.ema.map(|ema| (objective.twin(), ema.decay));
    if let Some((average, _)) = &ema {
        average.copy_from(store);
    }

    let checkpoints = Checkpoint::new(run, config.hash(), config.events.keep_checkpoints);
    let mut first = 0;
    let mut resumed = None;
    if resume {
        let found = checkpoints.load_latest(&mut parts(store, ema.as_ref(), &mut update))?;
        first = found.0;
        resumed = Some(found);
    }
    let mut recorder = Recorder::open(run, resumed)?;

    for step in first..config.num_steps {
        let started = Instant::now();
        reseed(&[config.seed, step]);
        let losses = objective.losses(step)?;
        let updated = update.step(&losses, step, run.path());
        // A batch that was kept for study is worth a folder as well.
        if matches!(updated, Ok(_) | Err(TrainError::NotFinite { .. })) {
            run.keep();
        }
        let mut values = updated?;
        if let Some((average, decay)) = &ema {
            // The average warms up: early on it must follow, or it would remember the initial values.
            let decay = decay.min((step + 1) as f64 / (step + 10) as f64);
            average.lerp_from(store, decay);
        }
        values.insert("time/update_s".into(), started.elapsed().as_secs_f64());

        let done = step + 1;
        if due(done, config.events.log_every) {
            recorder.record(step, Kind::Train, &values)?;
        }
        observer.updated(done, config.num_steps, &values);
        if due(done, config.events.sample_every) {
            let average = ema.as_ref().map_or(store, |(average, _)| average);
            if let Some(sheet) = objective.sheet(average, config.events.num_sample_prompts)? {
                let path = run.sample(done);
                atomic_write(&path, sheet.png(&[]))?;
                observer.wrote("samples", &path);
            }
        }
        let stop = observer.interrupted();
        if due(done, config.events.checkpoint_every) || stop || done == config.num_steps {
            let wall_s = recorder.wall_s();
            let path = checkpoints.save(done, wall_s, &parts(store, ema.as_ref(), &mut update))?;
            observer.wrote("checkpoint", &path);
        }
        if stop {
            return Ok(Outcome::Interrupted { step: done });
        }
    }

    let average = ema.as_ref().map_or(store, |(average, _)| average);
    let path = run.path().join("model.safetensors");
    objective.save(average, &path, notes)?;
    observer.wrote("weights", &path);
    Ok(Outcome::Finished)
}

fn build(config: &Pretrain, world: World) -> Result<Box<dyn Objective>, TrainError> {
    let device = device(&config.device.to_string())?;
    Ok(match &config.model {
        PretrainModel::Teacher(model) => Box::new(teacher::TeacherObjective::new(
            config, model, world, device,
        )?),
        PretrainModel::WorldClip(model) => Box::new(world_clip::ClipObjective::new(
            config, model, world, device,
        )?),
        PretrainModel::Preference(model) => Box::new(preference::PreferenceObjective::new(
            config, model, world, device,
        )?),
    })
}

fn parts<'a>(
    store: &'a ParamStore,
    ema: Option<&'a (ParamStore, f64)>,
    update: &'a mut Update,
) -> Vec<(&'static str, Part<'a>)> {
    let mut parts = vec![("model", Part::Params(store))];
    if let Some((average, _)) = ema {
        parts.push(("model.ema", Part::Params(average)));
    }
    parts.push(("optim.model", Part::Optimizer(update.adamw_mut())));
    parts
}
