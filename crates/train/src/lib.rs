//! Training: update step, checkpoints, events, and the two loops, [`pretrain`] and [`distill`].

mod checkpoint;
mod error;
mod observer;
pub mod pretrain;
mod recorder;
mod update;

pub use checkpoint::{Checkpoint, Manifest, Part};
pub use error::TrainError;
pub use observer::{Observer, Outcome, Silent};
pub use recorder::Recorder;
pub use update::{Update, UpdateStats};

/// The embedded world a config names.
///
/// # Errors
/// A drawing that cannot be rasterised.
pub fn world(preset: dmdr_config::WorldPreset) -> Result<dmdr_world::World, dmdr_world::WorldError> {
    dmdr_world::World::new(match preset {
        dmdr_config::WorldPreset::Mini => dmdr_world::Preset::Mini,
        dmdr_config::WorldPreset::Geneval => dmdr_world::Preset::Geneval,
    })
}
