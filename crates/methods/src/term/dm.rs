//! Distribution matching (Eq. 1 of arXiv 2511.13649), with `DynaDG`, `DynaRS` and the terms of Decoupled DMD.

use dmdr_config::{Augmentation, DistributionMatching, NetId};
use dmdr_diffusion::{loss, sample_times};
use dmdr_models::View;
use dmdr_tensor::{Tensor, phase, uniform};

use super::renoise::renoise;
use crate::{Losses, Place, Rollout, Update};

/// Draws of guidance have a stream of their own.
const GUIDANCE: u64 = 0x6D1C;

/// The loss of the student's prediction `x0 [B, C, H, W]`, with gradient, for the inputs of `r`. The fake score is called at
/// `fake_scale`.
pub fn dm(
    config: &DistributionMatching,
    fake_scale: f64,
    update: &Update<'_>,
    x0: &Tensor,
    r: &Rollout,
) -> Losses {
    let index = update.index();
    let real_scale = config.real_scale.at(index); // DynaDG
    let guidance = guidance(config, update);
    let real = update.nets().teacher_with(NetId::FAKE_SCORE, real_scale);
    let real = real.with_guidance(guidance);
    let fake = update.view(NetId::FAKE_SCORE).scaled(fake_scale);

    // Both scores at the same renoised point, without gradient.
    let (x_t, t) = renoise(real.schedule, &x0.detach(), &config.renoise, index, r.share);
    let (x0_real, x0_fake) = phase("views", || {
        let x0_fake = fake.x0_no_grad(&x_t, &t, &r.cond);
        let Some(augmentation) = &config.augmentation else {
            return (real.x0_no_grad(&x_t, &t, &r.cond), x0_fake);
        };
        // Decoupled: the conditional teacher here, what guidance adds to it at a time of its own.
        let x0_real = real.unguided().x0_no_grad(&x_t, &t, &r.cond);
        let guidance = guidance_term(augmentation, &real, x0, r, index);
        (x0_real, x0_fake - guidance * augmentation.weight.at(index))
    });
    let matching = loss::distribution_matching(x0, &x0_real, &x0_fake, config.normalize);

    let mut losses = Losses::default();
    let numbers = &mut losses.numbers;
    numbers.keep("dm/grad_abs", &matching.gradient_abs);
    numbers.know("dm/real_scale", real_scale);
    if config.guidance.is_some() {
        numbers.know("dm/guidance", guidance);
    }
    for (name, value) in config.renoise.parameters_at(index) {
        numbers.know(format!("renoise/{name}"), value);
    }
    losses.add("dm", config.weight.at(index), matching.loss);
    losses
}

/// The real score's guidance: the teacher's, or one of the range, drawn for the whole update.
fn guidance(config: &DistributionMatching, update: &Update<'_>) -> f64 {
    let Some([low, high]) = config.guidance else {
        return update.nets().frozen().guidance.scale;
    };
    let Place { seed, update, .. } = update.place();
    low + (high - low) * uniform(&[seed, GUIDANCE, update])
}

/// `(w - 1) (x0_c - x0_u)` of the teacher at a renoise time of its own: what guidance adds, CFG augmentation.
fn guidance_term(
    augmentation: &Augmentation,
    teacher: &View<'_>,
    x0: &Tensor,
    r: &Rollout,
    update: u64,
) -> Tensor {
    let x0 = x0.detach();
    let times = |rows| sample_times(&augmentation.renoise, update, rows, x0.device());
    let mut t = r.share.draw(x0.size()[0], times);
    if augmentation.below_input {
        t *= &r.t;
    }
    let x_t = teacher
        .schedule
        .add_noise(&x0, &r.share.randn_like(&x0), &t);
    teacher.guidance_no_grad(&x_t, &t, &r.cond)
}
