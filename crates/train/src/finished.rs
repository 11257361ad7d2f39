//! A finished run, opened for sampling and measuring.

use std::path::{Path, PathBuf};

use dmdr_config::Experiment;
use dmdr_eval::Evaluator;
use dmdr_events::RunDir;
use dmdr_tensor::{Device, device};
use dmdr_world::World;

use crate::{Networks, StudentSampler, TeacherSampler, TextEncoder, TrainError, compute, world};

/// The metrics of `experiment`, which read the same captions as its text encoder.
pub(crate) fn evaluator(
    experiment: &Experiment,
    world: &World,
    text: &TextEncoder,
    device: Device,
) -> Result<Evaluator, TrainError> {
    let evaluator = Evaluator::load(world.clone(), &experiment.assets, device)?;
    text.check_length("assets.world_clip", evaluator.max_tokens())?;
    Ok(evaluator)
}

/// Networks of a run with its student.
#[derive(Debug)]
pub struct FinishedRun {
    /// Its folder.
    pub run: RunDir,
    /// Its config.
    pub experiment: Experiment,
    /// The world it lives in.
    pub world: World,
    /// The frozen text tower.
    pub text: TextEncoder,
    /// Teacher, fake score (fresh) and student.
    pub networks: Networks,
    /// Where they are.
    pub device: Device,
    /// The file the student was read from.
    pub weights: PathBuf,
}

impl FinishedRun {
    /// The run in `path` with its finished student.
    ///
    /// # Errors
    /// A folder that is no run, a student that is not finished, or a file that does not fit.
    pub fn open(path: &Path) -> Result<Self, TrainError> {
        let weights = path.join("student.safetensors");
        if !weights.is_file() && RunDir::open(path).is_ok() {
            return Err(TrainError::Unfinished {
                path: path.to_owned(),
            });
        }
        Self::with_student(path, &weights)
    }

    /// The run in `path` with the student in `weights`.
    ///
    /// # Errors
    /// A folder that is no run, or a file that does not fit.
    pub fn with_student(path: &Path, weights: &Path) -> Result<Self, TrainError> {
        let run = RunDir::open(path)?;
        let experiment = Experiment::load(run.config(), &[])?;
        let device = device(&experiment.device.to_string())?;
        let world = world(experiment.world.preset)?;
        let text = TextEncoder::of(&experiment, &world, device)?;
        let compute = compute(experiment.precision, device);
        let networks = Networks::build(&experiment, &text, device, compute)?;
        networks.student.load(weights)?;
        Ok(Self {
            run,
            experiment,
            world,
            text,
            networks,
            device,
            weights: weights.to_owned(),
        })
    }

    /// The metrics that the run's config names.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit.
    pub fn evaluator(&self) -> Result<Evaluator, TrainError> {
        evaluator(&self.experiment, &self.world, &self.text, self.device)
    }

    /// The teacher, with guidance.
    pub fn teacher(&self) -> TeacherSampler<'_> {
        TeacherSampler {
            view: self.networks.roles.teacher(),
            text: &self.text,
            num_steps: self.experiment.teacher.num_steps,
        }
    }

    /// The student.
    pub fn student(&self) -> StudentSampler<'_> {
        StudentSampler {
            roles: &self.networks.roles,
            text: &self.text,
            num_steps: self.experiment.student.num_steps,
            shift: self.experiment.student.shift,
        }
    }
}
