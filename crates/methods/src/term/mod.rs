//! Loss terms that methods share, one a file: functions of a config of the same name.

mod consistency;
mod dm;
mod fake_score;
mod gan;
mod pretraining;
mod renoise;

pub use consistency::consistency;
pub use dm::dm;
pub use fake_score::fake_score;
pub use gan::{discriminator, gan};
pub use pretraining::pretraining;
pub use renoise::renoise;
