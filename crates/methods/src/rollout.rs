//! Backward simulation (DMD2, arXiv 2405.14867): the student is trained on its own intermediate states.

use dmdr_batches::Prompts;
use dmdr_config::NetId;
use dmdr_diffusion::sampler::batch_time;
use dmdr_models::{Conditioning, View};
use dmdr_tensor::{Kind, Tensor, no_grad_guard, phase};

use crate::{Batch, Depths, MethodError, Share, Update};

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
    /// Which rows of the whole batch these are.
    pub share: Share,
}

impl Rollout {
    /// Part `share` of it.
    ///
    /// # Panics
    /// If its rows cannot be divided evenly.
    #[must_use]
    pub fn part(&self, share: Share) -> Self {
        let rows = share.rows(self.prompts.len());
        Self {
            cond: share.of_cond(&self.cond),
            prompts: self.prompts.rows(rows),
            x_t: share.of(&self.x_t),
            t: share.of(&self.t),
            x0: share.of(&self.x0),
            share,
        }
    }
}

/// What the student was fed and made of it, without what is known before: `x_t`, `t` and `x0` of a [`Rollout`].
#[derive(Debug)]
pub struct States {
    /// `[B, C, H, W]`.
    pub x_t: Tensor,
    /// `[B]`.
    pub t: Tensor,
    /// `[B, C, H, W]`.
    pub x0: Tensor,
}

/// Runs the student down `times` (last = 0) from `noise`; each sample stops at its own step, as `depths` of the whole batch
/// say. `noise` and `cond` are those of `share`.
///
/// Samples lie in blocks, the deepest first. So step `i` evaluates only the samples that go on. With `n` steps and a batch
/// that has them all a rollout costs `(n + 1) / 2` evaluations a sample. The input at step `j` is the prediction of
/// step `j - 1` renoised, as in sampling. (The official demo renoises step `j`'s own prediction: off by one.)
pub fn backward_simulation(
    student: &View<'_>,
    times: &[f64],
    depths: &Depths,
    share: Share,
    noise: &Tensor,
    cond: &Conditioning,
) -> States {
    let _guard = no_grad_guard();
    let len = noise.size()[0];
    let mut x = noise.shallow_clone();
    let mut x0 = Vec::new();
    let mut x_t = Vec::new();
    let mut t = Vec::new();
    for step in 0..times.len() - 1 {
        // The first `here` samples are trained at this step or deeper.
        let (whole, whole_on) = (depths.going(step), depths.going(step + 1));
        let (here, on) = (share.below(whole, len), share.below(whole_on, len));
        let mut clean = x.narrow(0, 0, 0);
        if here == 0 && share.is_any_below(whole, len) {
            // Another process evaluates the network, of which each may keep a part.
            let (x, cond) = (noise.narrow(0, 0, 1), cond.narrow(0, 1));
            let _ = student.x0(&x, &batch_time(&x, times[step]), &cond);
        }
        if here > 0 {
            clean = student.x0(&x, &batch_time(&x, times[step]), &cond.narrow(0, here));
            x_t.push(x.narrow(0, on, here - on));
            x0.push(clean.narrow(0, on, here - on));
            let time = (Kind::Float, x.device());
            t.push(Tensor::full([here - on], times[step], time));
        }
        // Others may go on where this share does not, and all draw the same.
        if whole_on == 0 {
            break;
        }
        let clean = clean.narrow(0, 0, on);
        let shape = clean.size();
        let eps = share.draw_first(whole_on, len, |rows| {
            let rows = [&[rows], &shape[1..]].concat();
            Tensor::randn(rows, (clean.kind(), clean.device()))
        });
        let next = batch_time(&clean, times[step + 1]);
        x = student.schedule.add_noise(&clean, &eps, &next);
    }
    // Samples that stopped last lie first in the batch.
    let assemble = |mut blocks: Vec<Tensor>| {
        blocks.reverse();
        Tensor::cat(&blocks, 0)
    };
    States {
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
        let Batch { prompts, cond } = update.batch()?;
        let share = update.share();
        let [c, h, w] = self.image_shape;
        let options = (Kind::Float, cond.pooled.device());
        let depths = Depths::of(
            share.whole(prompts.len()),
            self.times.len() - 1,
            &update.place(),
        );
        let states = update.in_parts(|part| {
            let cond = part.of_cond(&cond);
            let noise = part.draw(cond.batch(), |rows| Tensor::randn([rows, c, h, w], options));
            let student = update.view(NetId::STUDENT);
            let times = &self.times;
            Ok(phase("rollout", || {
                backward_simulation(&student, times, &depths, part, &noise, &cond)
            }))
        })?;
        let join = |of: fn(&States) -> &Tensor| {
            let parts: Vec<&Tensor> = states.iter().map(of).collect();
            Tensor::cat(&parts, 0)
        };
        Ok(Rollout {
            prompts,
            cond,
            x_t: join(|states| &states.x_t),
            t: join(|states| &states.t),
            x0: join(|states| &states.x0),
            share,
        })
    }
}
