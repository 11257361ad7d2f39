//! Backward simulation (DMD2, arXiv 2405.14867): the student is trained on its own intermediate states.

use dmdr_batches::Prompts;
use dmdr_config::NetId;
use dmdr_diffusion::sampler::batch_time;
use dmdr_models::{Conditioning, View};
use dmdr_tensor::{Kind, Tensor, no_grad_guard};

use crate::{Batch, Depths, MethodError, Update};

/// Student inputs at the steps where it will be trained, and what it makes of them.
#[derive(Debug)]
pub struct Rollout {
    /// The prompts.
    pub prompts: Prompts,
    /// Their encoding.
    pub cond: Conditioning,
    /// Student input at its grid time, `[B, C, H, W]`.
    pub x_t: Tensor,
    /// That time, `[B]`.
    pub t: Tensor,
    /// The student's clean prediction there, detached, `[B, C, H, W]`.
    pub x0: Tensor,
}

/// Runs the student down `times` (last = 0) from `noise`; each sample stops at its own step, as `depths` says.
///
/// Samples lie in blocks, the deepest first. So step `i` evaluates only the samples that go on. With `n` steps and a batch
/// that has them all a rollout costs `(n + 1) / 2` evaluations a sample. The input at step `j` is the prediction of
/// step `j - 1` renoised, as in sampling. (The official demo renoises step `j`'s own prediction: off by one.)
pub fn backward_simulation(
    student: &View<'_>,
    times: &[f64],
    depths: &Depths,
    noise: &Tensor,
    Batch { prompts, cond }: Batch,
) -> Rollout {
    let _guard = no_grad_guard();
    let num_steps = times.len() - 1;
    let mut x = noise.shallow_clone();
    let mut x0 = Vec::with_capacity(num_steps);
    let mut x_t = Vec::with_capacity(num_steps);
    let mut t = Vec::with_capacity(num_steps);
    for step in 0..num_steps {
        // The first `going(i)` samples are trained at step i or deeper.
        let (here, on) = (depths.going(step), depths.going(step + 1));
        let clean = student.x0(&x, &batch_time(&x, times[step]), &cond.narrow(0, here));
        x_t.push(x.narrow(0, on, here - on));
        x0.push(clean.narrow(0, on, here - on));
        t.push(Tensor::full(
            [here - on],
            times[step],
            (Kind::Float, x.device()),
        ));
        if on == 0 {
            break;
        }
        let clean = clean.narrow(0, 0, on);
        let next = batch_time(&clean, times[step + 1]);
        x = student
            .schedule
            .add_noise(&clean, &clean.randn_like(), &next);
    }
    // Samples that stopped last lie first in the batch.
    let assemble = |mut blocks: Vec<Tensor>| {
        blocks.reverse();
        Tensor::cat(&blocks, 0)
    };
    Rollout {
        prompts,
        cond,
        x_t: assemble(x_t),
        t: assemble(t),
        x0: assemble(x0),
    }
}

/// Backward simulation of a run's student.
#[derive(Debug, Clone)]
pub struct Simulation {
    /// Its time grid, from noise down to 0.
    pub times: Vec<f64>,
    /// `[C, H, W]` of what it predicts.
    pub image_shape: [i64; 3],
}

impl Simulation {
    /// The next iteration's prompts, and [`backward_simulation`] of the student on them from fresh noise.
    ///
    /// # Errors
    /// Prompts that cannot be read or encoded.
    pub fn run(&self, update: &mut Update<'_>) -> Result<Rollout, MethodError> {
        let batch = update.batch()?;
        let (size, [c, h, w]) = (batch.cond.batch(), self.image_shape);
        let noise = Tensor::randn([size, c, h, w], (Kind::Float, batch.cond.pooled.device()));
        let depths = Depths::of(size as usize, self.times.len() - 1, &update.place());
        let student = update.view(NetId::STUDENT);
        Ok(backward_simulation(
            &student,
            &self.times,
            &depths,
            &noise,
            batch,
        ))
    }
}
