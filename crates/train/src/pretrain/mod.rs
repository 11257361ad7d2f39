//! Pretraining of the emoji world's networks: teacher, World-CLIP, preference models.

mod objective;
mod preference;
mod repaint;
mod teacher;
mod world_clip;

use std::{collections::BTreeMap, path::Path};

use dmdr_config::{Motion, NetId, Optim, Pretrain, PretrainModel};
use dmdr_events::{OwnedRun, RunDir, atomic_write};
use dmdr_methods::{Batch, Feed, FeedError, Net, Nets, Network};
use dmdr_tensor::{Ranks, Runtime};
use dmdr_world::World;

use crate::{
    Inputs, Observer, Outcome, Part, TrainError, Trainer,
    run::course::{self, Course},
};

pub use objective::Objective;

/// The network that is trained.
pub const MODEL: NetId = NetId::new("model");
/// Its averaged weights.
const AVERAGE: NetId = NetId::new("model.average");

/// What a pretraining minimises, with everything loaded: bad inputs are errors before a folder is made.
///
/// # Errors
/// An input that is missing, unreadable or does not fit.
pub fn objective(config: &Pretrain, runtime: Runtime) -> Result<Box<dyn Objective>, TrainError> {
    build(config, World::new(config.world.preset)?, runtime)
}

/// Runs (or resumes) the pretraining of `objective`, which is that of `config`, in `run` and writes the result to
/// `run/model.safetensors`.
///
/// # Errors
/// Files that changed since the run began, a loss that is not finite, or a file that cannot be written.
pub fn pretrain(
    config: &Pretrain,
    objective: Box<dyn Objective>,
    run: &OwnedRun,
    resume: bool,
    notes: &BTreeMap<String, String>,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    Inputs::of_pretraining(config)?.keep(run)?;
    let store = objective.store().clone();
    let mut nets = vec![Net::new(MODEL, store, Network::Held, Motion::Trained)];
    if let Some(ema) = config.ema {
        let motion = Motion::Average {
            of: MODEL,
            decay: ema.decay,
            warms_up: true,
        };
        let twin = objective.twin();
        twin.copy_from(objective.store());
        nets.push(Net::new(AVERAGE, twin, Network::Held, motion));
    }
    let mut nets = Nets::new(None, nets);
    nets.train_by(&Optim::new([(MODEL, config.optim.clone())]));
    let mut pretraining = Pretraining {
        config,
        trainer: Trainer::new(objective, nets, 1, config.seed),
        notes,
    };
    let schedule = course::Schedule {
        num_updates: config.num_updates,
        events: &config.events,
        identity: config.hash(),
        batches: 1,
        ranks: Ranks::ALONE,
    };
    course::train(&mut pretraining, &schedule, run, resume, observer)
}

/// A pretraining as a course.
struct Pretraining<'a> {
    config: &'a Pretrain,
    trainer: Trainer<dyn Objective>,
    notes: &'a BTreeMap<String, String>,
}

impl Pretraining<'_> {
    /// The averaged network, or the network itself where no average is kept.
    fn result(&self) -> NetId {
        if self.trainer.nets().has(AVERAGE) {
            AVERAGE
        } else {
            MODEL
        }
    }
}

/// An objective draws its data itself.
struct NoPrompts;

impl Feed for NoPrompts {
    fn batch(&self, _: u64) -> Result<Batch, FeedError> {
        Err("a pretraining has no prompts but its own".into())
    }
}

impl Course for Pretraining<'_> {
    fn parts(&mut self) -> Vec<(String, Part<'_>)> {
        self.trainer.parts()
    }

    fn update(&mut self, update: u64, run: &Path) -> Result<BTreeMap<String, f64>, TrainError> {
        self.trainer.update(update, &NoPrompts, run)
    }

    fn sample(&self, path: &Path) -> Result<bool, TrainError> {
        let store = self.trainer.nets().store(self.result());
        let num_prompts = self.config.events.num_sample_prompts;
        let Some(sheet) = self.trainer.method().sheet(store, num_prompts)? else {
            return Ok(false);
        };
        atomic_write(path, sheet.png(&[]))?;
        Ok(true)
    }

    fn finish(&mut self, run: &RunDir, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let path = run.path().join("model.safetensors");
        let store = self.trainer.nets().store(self.result());
        self.trainer.method().save(store, &path, self.notes)?;
        observer.wrote("weights", &path);
        Ok(())
    }
}

fn build(
    config: &Pretrain,
    world: World,
    runtime: Runtime,
) -> Result<Box<dyn Objective>, TrainError> {
    Ok(match &config.model {
        PretrainModel::Teacher(model) => Box::new(teacher::TeacherObjective::new(
            config, model, world, runtime,
        )?),
        PretrainModel::WorldClip(model) => Box::new(world_clip::ClipObjective::new(
            config, model, world, runtime,
        )?),
        PretrainModel::Preference(model) => Box::new(preference::PreferenceObjective::new(
            config, model, world, runtime,
        )?),
    })
}
