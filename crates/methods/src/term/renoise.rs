//! Noise for images at times of a distribution.

use dmdr_config::TimeDistribution;
use dmdr_diffusion::{Schedule, sample_times};
use dmdr_tensor::Tensor;

/// `x0 [B, C, H, W]`, noised to times of `times` at `update`, and those times `[B]`.
pub fn renoise(
    schedule: Schedule,
    x0: &Tensor,
    times: &TimeDistribution,
    update: u64,
) -> (Tensor, Tensor) {
    let t = sample_times(times, update, x0.size()[0], x0.device());
    let x_t = schedule.add_noise(x0, &x0.randn_like(), &t);
    (x_t, t)
}
