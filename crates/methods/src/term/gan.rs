//! The adversarial terms of DMD2 (arXiv 2405.14867): a discriminator on the fake score's features of noised images.

use dmdr_config::{Gan, NetId};
use dmdr_tensor::{Kind, Tensor, phase};

use super::renoise::renoise;
use crate::{Losses, Rollout, Update};

/// What discriminator and fake score minimise: `softplus(D(x)) + softplus(-D(true))` on the student's images of `r` and on
/// `true_images [B, C, H, W]`, both noised to times of their own. The fake score's adapter is at `fake_scale`.
pub fn discriminator(
    config: &Gan,
    fake_scale: f64,
    update: &Update<'_>,
    true_images: &Tensor,
    r: &Rollout,
) -> Losses {
    let made = logits(config, fake_scale, update, &r.x0.detach(), r);
    let real = logits(config, fake_scale, update, true_images, r);
    let mut losses = Losses::default();
    losses.keep("true", true_images);
    losses.numbers.keep("gan/made", &made.mean(Kind::Float));
    losses.numbers.keep("gan/true", &real.mean(Kind::Float));
    let loss = made.softplus() + (-real).softplus();
    let weight = config.discriminator_weight.at(update.index());
    losses.add("discriminator", weight, loss.mean(Kind::Float));
    losses
}

/// What the student minimises: `softplus(-D(x0))` on its predictions `x0 [B, C, H, W]` for the inputs of `r`, with gradient.
pub fn gan(config: &Gan, fake_scale: f64, update: &Update<'_>, x0: &Tensor, r: &Rollout) -> Losses {
    let mut losses = Losses::default();
    let weight = config.weight.at(update.index());
    if weight > 0.0 {
        let made = logits(config, fake_scale, update, x0, r);
        losses.add("gan", weight, (-made).softplus().mean(Kind::Float));
    }
    losses
}

/// Logits of images for the prompts of `r` after noise.
fn logits(config: &Gan, fake_scale: f64, update: &Update<'_>, x0: &Tensor, r: &Rollout) -> Tensor {
    let view = update.view(NetId::FAKE_SCORE).scaled(fake_scale).trained();
    let (x_t, t) = renoise(view.schedule, x0, &config.renoise, update.index(), r.share);
    let discriminator = update.nets().discriminator(NetId::DISCRIMINATOR);
    phase("discriminator", || {
        discriminator.logits(&view, &x_t, &t, &r.cond)
    })
}
