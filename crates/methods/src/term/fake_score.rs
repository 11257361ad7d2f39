//! The denoising loss of the fake score, which makes it follow the student's distribution.

use dmdr_config::{FakeScoreLoss, NetId};
use dmdr_diffusion::loss;
use dmdr_tensor::{Kind, phase};

use super::renoise::renoise;
use crate::{Losses, Rollout, Update};

/// The loss of the fake score, its adapter at `scale`, on what the student made.
pub fn fake_score(config: &FakeScoreLoss, scale: f64, update: &Update<'_>, r: &Rollout) -> Losses {
    let view = update.view(NetId::FAKE_SCORE).scaled(scale).trained();
    let (x_t, t) = renoise(
        view.schedule,
        &r.x0,
        &config.renoise,
        update.index(),
        r.share,
    );
    let x0_hat = phase("fake score", || view.x0(&x_t, &t, &r.cond));
    let mut losses = Losses::default();
    losses.keep("x0", &r.x0);
    losses.keep("x_t", &x_t);
    losses.keep("t", &t);
    let per_sample = loss::denoise(view.schedule, &x0_hat, &r.x0, &t);
    losses.add("fake_score", 1.0, per_sample.mean(Kind::Float));
    losses
}
