//! A finished run, opened for sampling and measuring.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dmdr_config::Experiment;
use dmdr_events::RunDir;
use dmdr_tensor::{Device, device};
use dmdr_train::{Networks, StudentSampler, TeacherSampler, TextEncoder, compute, world};
use dmdr_world::World;

/// Networks of a run with its finished student.
pub(crate) struct Trained {
    pub(crate) run: RunDir,
    pub(crate) experiment: Experiment,
    pub(crate) world: World,
    pub(crate) text: TextEncoder,
    pub(crate) networks: Networks,
    pub(crate) device: Device,
    pub(crate) weights: PathBuf,
}

impl Trained {
    /// Loads config, teacher and student of the run in `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let run = RunDir::open(path)?;
        let experiment = Experiment::load(run.config(), &[])?;
        let weights = run.path().join("student.safetensors");
        std::fs::metadata(&weights).with_context(|| {
            format!(
                "`{}` has no finished student; continue it with `dmdr train {} --resume`",
                path.display(),
                run.config().display()
            )
        })?;
        let device = device(&experiment.device.to_string())?;
        let world = world(experiment.world.preset)?;
        let text = TextEncoder::load(
            "assets.world_clip",
            &experiment.assets.world_clip,
            &world,
            device,
        )?;
        let compute = compute(experiment.precision, device);
        let networks = Networks::build(&experiment, &text, device, compute)?;
        networks.student.load(&weights)?;
        Ok(Self {
            run,
            experiment,
            world,
            text,
            networks,
            device,
            weights,
        })
    }

    pub(crate) fn teacher(&self) -> TeacherSampler<'_> {
        TeacherSampler {
            view: self.networks.roles.teacher(),
            text: &self.text,
            num_steps: self.experiment.teacher.num_steps,
        }
    }

    pub(crate) fn student(&self) -> StudentSampler<'_> {
        StudentSampler {
            roles: &self.networks.roles,
            text: &self.text,
            num_steps: self.experiment.student.num_steps,
            shift: self.experiment.student.shift,
        }
    }
}
