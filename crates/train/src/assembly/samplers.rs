//! Teacher and student as things that make images from given noise.

use dmdr_batches::Prompts;
use dmdr_config::{Student, Teacher};
use dmdr_diffusion::{sampler, student_times, time_grid};
use dmdr_eval::{EvalError, Sampler};
use dmdr_models::{Conditioning, View};
use dmdr_tensor::{Tensor, no_grad_guard};

use crate::Source;

/// The teacher with guidance, deterministic Euler.
pub struct TeacherSampler<'a> {
    /// The teacher.
    pub view: View<'a>,
    /// Where prompts are encoded and predictions decoded.
    pub source: &'a dyn Source,
    /// Euler steps.
    pub num_steps: usize,
    /// Timestep shift.
    pub shift: f64,
}

/// The student without guidance, predict and renoise.
pub struct StudentSampler<'a> {
    /// The student or its average.
    pub view: View<'a>,
    /// Where prompts are encoded and predictions decoded.
    pub source: &'a dyn Source,
    /// Steps, as trained.
    pub num_steps: usize,
    /// Timestep shift, as trained.
    pub shift: f64,
    /// The time that a single step is told, if not that of pure noise.
    pub conditioning_time: Option<f64>,
}

impl<'a> TeacherSampler<'a> {
    /// `view` sampled as `config` says.
    pub fn of(config: &Teacher, view: View<'a>, source: &'a dyn Source) -> Self {
        Self {
            view,
            source,
            num_steps: config.num_steps,
            shift: config.shift,
        }
    }
}

impl<'a> StudentSampler<'a> {
    /// `view` sampled as `config` says.
    pub fn of(config: &Student, view: View<'a>, source: &'a dyn Source) -> Self {
        Self {
            view,
            source,
            num_steps: config.num_steps,
            shift: config.shift,
            conditioning_time: config.conditioning_time,
        }
    }
}

fn encode(source: &dyn Source, name: &str, prompts: &Prompts) -> Result<Conditioning, EvalError> {
    source
        .encode(prompts)
        .map_err(|error| EvalError::sampler(name, error))
}

impl Sampler for TeacherSampler<'_> {
    fn sample(&self, prompts: &Prompts, noise: &Tensor) -> Result<Tensor, EvalError> {
        let _guard = no_grad_guard();
        let cond = encode(self.source, self.name(), prompts)?;
        let times = time_grid(self.num_steps, self.shift);
        let x = sampler::euler(self.view.schedule, &times, noise, |x, t| {
            self.view.x0(x, t, &cond)
        });
        Ok(self.source.decoder().decode(&x))
    }

    fn num_evaluations(&self) -> usize {
        self.num_steps * self.view.evaluations()
    }

    fn guidance(&self) -> f64 {
        self.view
            .guidance
            .as_ref()
            .map_or(1.0, |guidance| guidance.scale)
    }

    fn name(&self) -> &'static str {
        "teacher"
    }
}

impl Sampler for StudentSampler<'_> {
    fn sample(&self, prompts: &Prompts, noise: &Tensor) -> Result<Tensor, EvalError> {
        let _guard = no_grad_guard();
        let cond = encode(self.source, self.name(), prompts)?;
        let view = &self.view;
        let times = student_times(self.num_steps, self.shift, self.conditioning_time);
        let x = sampler::renoise(view.schedule, &times, noise, |x, t| view.x0(x, t, &cond));
        Ok(self.source.decoder().decode(&x))
    }

    fn num_evaluations(&self) -> usize {
        self.num_steps
    }

    fn guidance(&self) -> f64 {
        1.0
    }

    fn name(&self) -> &'static str {
        "student"
    }
}
