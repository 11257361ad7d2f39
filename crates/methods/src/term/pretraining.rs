//! The pretraining loss on true images: `ReFL`'s regulariser.

use dmdr_config::{Curve, NetId};
use dmdr_diffusion::loss;
use dmdr_tensor::Kind;

use crate::{Losses, MethodError, Rollout, Update};

/// `weight` times the student's denoising loss on true images of the prompts of `r`, at its times.
///
/// # Errors
/// A world without true images.
pub fn pretraining(
    weight: &Curve,
    update: &Update<'_>,
    r: &Rollout,
) -> Result<Losses, MethodError> {
    let mut losses = Losses::default();
    let weight = weight.at(update.index());
    if weight > 0.0 {
        let student = update.view(NetId::STUDENT).trained();
        let x0 = update.true_images_of(&r.prompts, r.share)?;
        let x_t = student
            .schedule
            .add_noise(&x0, &r.share.randn_like(&x0), &r.t);
        let x0_hat = student.x0(&x_t, &r.t, &r.cond);
        let per_sample = loss::denoise(student.schedule, &x0_hat, &x0, &r.t);
        losses.add("pretraining", weight, per_sample.mean(Kind::Float));
    }
    Ok(losses)
}
