//! The consistency loss (LCM, arXiv 2310.04378): predictions along one of the teacher's trajectories are drawn together.

use dmdr_config::{Consistency, NetId};
use dmdr_diffusion::sampler::ode_step;
use dmdr_models::{Conditioning, View};
use dmdr_tensor::{Kind, Tensor, no_grad_guard, phase};

use crate::{Losses, Share, Update};

/// Standard deviation of data that the boundary's coefficients assume.
const SIGMA_DATA: f64 = 0.5;
/// What a time of 1 counts in them.
const TIMESTEPS: f64 = 1000.0;

/// The loss on true images `x0 [B, C, H, W]` of `share`. They are noised to times of the teacher's grid. The guided teacher takes one step
/// down its ODE. The student's prediction before the step is pulled to that of network `target` after it.
pub fn consistency(
    config: &Consistency,
    target: NetId,
    update: &Update<'_>,
    x0: &Tensor,
    cond: &Conditioning,
    share: Share,
) -> Losses {
    let (teacher, student) = (
        update.nets().teacher(),
        update.view(NetId::STUDENT).trained(),
    );
    let steps = config.num_steps as f64;
    let n = share.draw(x0.size()[0], |rows| {
        let end = config.num_steps as i64 + 1;
        Tensor::randint_low(1, end, [rows], (Kind::Float, x0.device()))
    });
    let (t, next) = (&n / steps, (&n - 1.0) / steps);
    let x_t = teacher.schedule.add_noise(x0, &share.randn_like(x0), &t);
    let aim = phase("views", || {
        let _guard = no_grad_guard();
        let x0_hat = teacher.x0(&x_t, &t, cond);
        let x_next = ode_step(teacher.schedule, &x_t, &x0_hat, &t, &next);
        bounded(&update.view(target), config, &x_next, &next, cond)
    });
    let x0_hat = phase("generator", || bounded(&student, config, &x_t, &t, cond));
    let difference = x0_hat - aim;
    let c = config.huber;
    let huber = (difference.square() + c * c).sqrt() - c;

    let mut losses = Losses::default();
    losses.keep("x0", x0);
    losses.keep("x_t", &x_t);
    losses.keep("t", &t);
    losses.add("consistency", 1.0, huber.mean(Kind::Float));
    losses
}

/// `c_skip x_t + c_out x0_hat`, which is `x_t` itself at time 0. At the times of a few-step student `c_skip` is below 1e-6, so
/// samplers leave it out.
fn bounded(
    view: &View<'_>,
    config: &Consistency,
    x_t: &Tensor,
    t: &Tensor,
    cond: &Conditioning,
) -> Tensor {
    let tau = t.reshape([-1, 1, 1, 1]) * (TIMESTEPS * config.timestep_scaling);
    let sum = tau.square() + SIGMA_DATA * SIGMA_DATA;
    let skip = sum.reciprocal() * (SIGMA_DATA * SIGMA_DATA);
    let out = tau / sum.sqrt();
    skip * x_t + out * view.x0(x_t, t, cond)
}
