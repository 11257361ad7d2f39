//! Training: assembly, the one loop around updates, checkpoints, events; [`pretrain`] and [`Distillation`] run in it.

mod assembly;
mod backbone;
mod checkpoint;
mod corpus;
mod course;
mod distill;
mod error;
mod export;
mod finished;
mod fused;
mod gaps;
mod guard;
mod hub;
mod import;
mod inputs;
mod lora_file;
mod measure;
mod metrics;
mod nets;
mod observer;
pub mod pretrain;
mod recorder;
mod rehearsal;
mod remote_reward;
mod rewards;
mod samplers;
mod sheet;
mod source;
mod table;
mod text_encoder;
mod trainer;
mod vlm_reward;

pub use assembly::{Assembly, Build, networks};
pub use backbone::Backbone;
pub use checkpoint::{Checkpoint, Manifest, Part};
pub use corpus::Corpus;
pub use distill::Distillation;
pub use error::TrainError;
pub use export::{Layout, comfyui_names, export, merged, peft_names};
pub use finished::FinishedRun;
pub use guard::Verdict;
pub use hub::pin;
pub use import::{AdapterFile, Imported, TextEncoders, import};
pub use inputs::Inputs;
pub use lora_file::lora_notes;
pub use metrics::MetricSource;
pub use nets::{Placing, build_nets};
pub use observer::{Observer, Outcome, Silent};
pub use recorder::Recorder;
pub use rehearsal::Rehearsal;
pub use samplers::{StudentSampler, TeacherSampler};
pub use source::{Classes, Emoji, Published, Source, open_source};
pub use table::{TableReport, measure_table};
pub use text_encoder::TextEncoder;
pub use trainer::Trainer;

/// The embedded world a config names.
///
/// # Errors
/// A drawing that cannot be rasterised.
pub fn world(
    preset: dmdr_config::WorldPreset,
) -> Result<dmdr_world::World, dmdr_world::WorldError> {
    dmdr_world::World::new(match preset {
        dmdr_config::WorldPreset::Mini => dmdr_world::Preset::Mini,
        dmdr_config::WorldPreset::Geneval => dmdr_world::Preset::Geneval,
    })
}
