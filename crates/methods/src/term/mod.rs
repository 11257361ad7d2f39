//! Loss terms that methods share, one a file: functions of a config of the same name.

mod consistency;
mod dm;
mod fake_score;
mod gan;
mod pretraining;

pub use consistency::consistency;
pub use dm::dm;
pub use fake_score::fake_score;
pub use gan::{discriminator, gan};
pub use pretraining::pretraining;

use dmdr_config::TimeDistribution;
use dmdr_diffusion::{Schedule, sample_times};
use dmdr_tensor::Tensor;

/// `x0 [B, C, H, W]`, noised to times of `times` at `update`, and those times `[B]`.
fn renoise(
    schedule: Schedule,
    x0: &Tensor,
    times: &TimeDistribution,
    update: u64,
) -> (Tensor, Tensor) {
    let t = sample_times(times, update, x0.size()[0], x0.device());
    let x_t = schedule.add_noise(x0, &x0.randn_like(), &t);
    (x_t, t)
}
