//! Teacher and student as things that make images from given noise.

use dmdr_data::Prompts;
use dmdr_diffusion::{sampler, time_grid};
use dmdr_eval::{EvalError, Sampler};
use dmdr_methods::Roles;
use dmdr_models::View;
use dmdr_tensor::{Tensor, no_grad_guard};

use crate::networks::{TextEncoder, to_images};

/// The base with guidance, deterministic Euler.
pub struct TeacherSampler<'a> {
    /// The base in its role as teacher.
    pub view: View<'a>,
    /// Text encoder.
    pub text: &'a TextEncoder,
    /// Euler steps.
    pub num_steps: usize,
}

/// The student without guidance, predict and renoise.
#[derive(Debug)]
pub struct StudentSampler<'a> {
    /// Networks.
    pub roles: &'a Roles,
    /// Text encoder.
    pub text: &'a TextEncoder,
    /// Steps, as trained.
    pub num_steps: usize,
    /// Timestep shift, as trained.
    pub shift: f64,
}

impl Sampler for TeacherSampler<'_> {
    fn sample(&self, prompts: &Prompts, noise: &Tensor) -> Result<Tensor, EvalError> {
        let _guard = no_grad_guard();
        let cond = self.text.encode(prompts);
        let times = time_grid(self.num_steps, 1.0);
        let x = sampler::euler(self.view.schedule, &times, noise, |x, t| {
            self.view.x0(x, t, &cond)
        });
        Ok(to_images(&x))
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
        let cond = self.text.encode(prompts);
        let adapters = self.roles.generator_adapters();
        let view = self.roles.generator(&adapters, false);
        let times = time_grid(self.num_steps, self.shift);
        let x = sampler::renoise(view.schedule, &times, noise, |x, t| view.x0(x, t, &cond));
        Ok(to_images(&x))
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
