//! Noise for images at times of a distribution.

use dmdr_config::TimeDistribution;
use dmdr_diffusion::{Schedule, sample_times};
use dmdr_tensor::Tensor;

use crate::Share;

/// `x0 [B, C, H, W]` of `share`, noised to times of `times` at `update`, and those times `[B]`.
pub fn renoise(
    schedule: Schedule,
    x0: &Tensor,
    times: &TimeDistribution,
    update: u64,
    share: Share,
) -> (Tensor, Tensor) {
    let t = share.draw(x0.size()[0], |rows| {
        sample_times(times, update, rows, x0.device())
    });
    let x_t = schedule.add_noise(x0, &share.randn_like(x0), &t);
    (x_t, t)
}
