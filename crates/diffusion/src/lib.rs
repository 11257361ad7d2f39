//! Diffusion as pure functions on tensors: schedule, parameterization, time samplers, guidance, samplers, losses.
//!
//! Times run from `t = 0` (data) to `t = 1` (noise). Nothing here knows a network.

mod guidance;
pub mod loss;
mod parameterization;
pub mod sampler;
mod scaled_linear;
mod schedule;
mod time;
pub mod transition;

pub use guidance::guide;
pub use parameterization::Parameterization;
pub use scaled_linear::timesteps;
pub use schedule::{Schedule, student_times, time_grid};
pub use time::sample_times;
