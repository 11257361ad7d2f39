//! A finished run, opened for sampling and measuring.

use std::path::{Path, PathBuf};

use dmdr_config::Experiment;
use dmdr_data::images_from_tensor;
use dmdr_eval::{Evaluator, Sampler};
use dmdr_events::RunDir;
use dmdr_tensor::{Device, Kind, Tensor, device, reseed};
use dmdr_world::Image;

use crate::{Inputs, Networks, Source, StudentSampler, TeacherSampler, TrainError, compute};

/// Networks of a run with its student.
#[derive(Debug)]
pub struct FinishedRun {
    /// Its folder.
    pub run: RunDir,
    /// Its config.
    pub experiment: Experiment,
    /// Where its prompts come from.
    pub source: Source,
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
        Self::with_student(path, &Self::student_of(path)?)
    }

    /// Where the student of the run in `path` lies.
    ///
    /// # Errors
    /// A folder that is no run, or a student that is not finished.
    pub fn student_of(path: &Path) -> Result<PathBuf, TrainError> {
        let weights = path.join("student.safetensors");
        if !weights.is_file() {
            let run = RunDir::open(path)?;
            return Err(TrainError::Unfinished {
                path: run.path().to_owned(),
            });
        }
        Ok(weights)
    }

    /// The run in `path` with the student in `weights`.
    ///
    /// # Errors
    /// A folder that is no run, a file that does not fit, or one that is another than when the run began.
    pub fn with_student(path: &Path, weights: &Path) -> Result<Self, TrainError> {
        let run = RunDir::open(path)?;
        let experiment = Experiment::load(run.config(), &[])?;
        Inputs::of_pictures(&experiment)?.check(&run)?;
        let device = device(&experiment.device.to_string())?;
        let source = Source::load(&experiment, device)?;
        let compute = compute(experiment.precision, device);
        let networks = Networks::build(&experiment, &source, device, compute)?;
        networks.student.load(weights)?;
        Ok(Self {
            run,
            experiment,
            source,
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
        self.source.evaluator(&self.experiment)
    }

    /// The teacher, with guidance.
    pub fn teacher(&self) -> TeacherSampler<'_> {
        TeacherSampler {
            view: self.networks.roles.teacher(),
            source: &self.source,
            num_steps: self.experiment.teacher.num_steps,
            shift: self.experiment.teacher.shift,
        }
    }

    /// Images of `caption` by `sampler`, one of this run's: the `i`-th from noise that depends on `seed + i` alone, and all of
    /// them renoised by draws that depend on `seed`.
    ///
    /// # Errors
    /// A caption that cannot be encoded.
    pub fn draw(
        &self,
        sampler: &dyn Sampler,
        caption: &str,
        seed: u64,
        count: usize,
    ) -> Result<Vec<Image>, TrainError> {
        let prompts = self.source.described(&vec![caption.to_owned(); count])?;
        let shape = self.networks.backbone.image_shape();
        let noise: Vec<Tensor> = (0..count as u64)
            .map(|index| {
                reseed(&[seed + index]);
                Tensor::randn(shape, (Kind::Float, self.device))
            })
            .collect();
        reseed(&[seed]);
        let images = sampler.sample(&prompts, &Tensor::stack(&noise, 0))?;
        Ok(images_from_tensor(&images))
    }

    /// The student.
    pub fn student(&self) -> StudentSampler<'_> {
        StudentSampler {
            roles: &self.networks.roles,
            source: &self.source,
            num_steps: self.experiment.student.num_steps,
            shift: self.experiment.student.shift,
            conditioning_time: self.experiment.student.conditioning_time,
        }
    }
}
