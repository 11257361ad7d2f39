//! A finished run, opened for sampling and measuring.

use std::path::{Path, PathBuf};

use dmdr_batches::images_from_tensor;
use dmdr_config::{Experiment, NetId, NetSpec, Start};
use dmdr_eval::{Evaluator, Measure, Sampler};
use dmdr_events::RunDir;
use dmdr_image::Image;
use dmdr_methods::Nets;
use dmdr_tensor::{Kind, Runtime, Tensor, reseed};

use crate::{
    Backbone, Inputs, Source, StudentSampler, TeacherSampler, TrainError, networks, open_source,
    run::measure::measure_of,
};

/// Networks of a run with its student.
#[derive(Debug)]
pub struct FinishedRun {
    /// Its folder.
    pub run: RunDir,
    /// Its config.
    pub experiment: Experiment,
    /// Where its prompts come from.
    pub source: Box<dyn Source>,
    /// Teacher and student, and what else was asked for.
    pub nets: Nets,
    /// Which network the teacher is.
    pub backbone: Backbone,
    /// Where they are, and how they compute.
    pub runtime: Runtime,
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
        Self::with_nets(path, weights, &[])
    }

    /// As [`Self::with_student`], with `others` of its method's networks, which are as the method would start them.
    ///
    /// # Errors
    /// As for [`Self::with_student`].
    pub fn with_nets(path: &Path, weights: &Path, others: &[NetId]) -> Result<Self, TrainError> {
        let run = RunDir::open(path)?;
        let experiment = Experiment::load(run.config(), &[])?;
        Inputs::of_pictures(&experiment)?.check(&run)?;
        let runtime = Runtime::new(experiment.device, experiment.precision)?;
        let source = open_source(&experiment, runtime)?;
        let mut specs = experiment.nets();
        specs.retain(|spec| spec.id == NetId::STUDENT || others.contains(&spec.id));
        let is_student = |spec: &&mut NetSpec| spec.id == NetId::STUDENT;
        for student in specs.iter_mut().filter(is_student) {
            student.start = Start::Teacher; // not from the file that training began with
        }
        let (backbone, nets) = networks(&experiment, &*source, &specs, runtime)?;
        nets.store(NetId::STUDENT).load(weights)?;
        Ok(Self {
            run,
            experiment,
            source,
            nets,
            backbone,
            runtime,
            weights: weights.to_owned(),
        })
    }

    /// The metrics that the run's config names.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit; a world whose truth is not known.
    pub fn evaluator(&self) -> Result<Evaluator, TrainError> {
        let evaluator = self.source.evaluator(&self.experiment)?;
        evaluator.ok_or_else(|| TrainError::Incompatible {
            what: "world".to_owned(),
            reason: "this evaluation judges emoji scenes".to_owned(),
        })
    }

    /// What its samplers are measured with on `num_prompts` validation prompts, or all that there are, from noise of `seeds`.
    ///
    /// # Errors
    /// A file that cannot be read or does not fit, or a config that names no metrics.
    pub fn measure(
        &self,
        num_prompts: usize,
        seeds: &[u64],
    ) -> Result<Box<dyn Measure>, TrainError> {
        let Experiment { evaluation, .. } = &self.experiment;
        if self.source.evaluator(&self.experiment)?.is_none() && evaluation.names().is_empty() {
            return Err(TrainError::Incompatible {
                what: "evaluation".to_owned(),
                reason: "it names no metrics; train with `[[evaluation.metrics]]`, or measure with `dmdr eval table`"
                    .to_owned(),
            });
        }
        measure_of(
            &self.experiment,
            &*self.source,
            self.backbone.image_shape(),
            self.runtime,
            (num_prompts, seeds.to_vec()),
            None,
        )
    }

    /// The teacher, with guidance.
    pub fn teacher(&self) -> TeacherSampler<'_> {
        let teacher = self.nets.teacher();
        TeacherSampler::of(&self.experiment.teacher, teacher, &*self.source)
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
        let shape = self.backbone.image_shape();
        let noise: Vec<Tensor> = (0..count as u64)
            .map(|index| {
                reseed(&[seed + index]);
                Tensor::randn(shape, (Kind::Float, self.runtime.device))
            })
            .collect();
        reseed(&[seed]);
        let images = sampler.sample(&prompts, &Tensor::stack(&noise, 0))?;
        Ok(images_from_tensor(&images))
    }

    /// The student.
    pub fn student(&self) -> StudentSampler<'_> {
        let student = self.nets.view(NetId::STUDENT);
        StudentSampler::of(&self.experiment.student, student, &*self.source)
    }
}
