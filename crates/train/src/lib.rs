//! Training: assembly, the one loop around updates, checkpoints, events; [`pretrain`] and [`Distillation`] run in it.

mod assembly;
mod error;
mod hub;
mod interop;
mod memory;
pub mod pretrain;
mod run;
mod source;
mod table;

pub use assembly::backbone::Backbone;
pub use assembly::corpus::Corpus;
pub use assembly::finished::FinishedRun;
pub use assembly::inputs::Inputs;
pub use assembly::metrics::MetricSource;
pub use assembly::samplers::{StudentSampler, TeacherSampler};
pub use assembly::text_encoder::TextEncoder;
pub use assembly::{Assembly, Build, networks};
pub use error::TrainError;
pub use hub::pin;
pub use interop::export::{Layout, comfyui_names, export, merged, peft_names};
pub use interop::import::{AdapterFile, Imported, TextEncoders, import};
pub use interop::lora_file::lora_notes;
pub use run::bench::Bench;
pub use run::checkpoint::{Checkpoint, Manifest, Part};
pub use run::distill::Distillation;
pub use run::guard::Verdict;
pub use run::nets::{Placing, build_nets};
pub use run::observer::{Observer, Outcome, Silent};
pub use run::recorder::Recorder;
pub use run::rehearsal::Rehearsal;
pub use run::trainer::Trainer;
pub use source::{Classes, Emoji, Published, Source, open_source};
pub use table::{TableReport, measure_table};
