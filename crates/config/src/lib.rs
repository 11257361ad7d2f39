//! Configuration of `dmdr`: two TOML documents, read strictly.
//!
//! [`Experiment`] is what `dmdr train` runs, [`Pretrain`] what `dmdr pretrain` runs, [`Table`] what `dmdr eval table`
//! measures, and [`Document`] finds out which of them a file is. Unknown keys, wrong types and values out of
//! range are refused with the file, the line and a caret under the key; rules that tie several keys
//! together are in [`Experiment::check`] and [`Pretrain::check`]. Nothing here needs libtorch, so a
//! configuration is validated in milliseconds, before any work starts.
//!
//! Relative paths in a configuration are relative to the working directory of the command.

mod check;
mod checkpointing;
mod curve;
mod device;
mod difference;
mod document;
mod error;
mod events;
mod experiment;
mod fidelity;
mod guard;
mod hint;
mod hub;
mod memory;
mod method;
mod metric;
mod net;
mod networks;
mod optimizer;
mod overrides;
mod precision;
mod pretrain;
mod prompts;
mod range;
mod recipe;
mod referenced;
mod reward;
mod rl;
mod table;
mod time;
mod world;

pub use checkpointing::Checkpointing;
pub use curve::Curve;
pub use device::Device;
pub use difference::{Difference, differences};
pub use document::Document;
pub use error::{ConfigError, Problem};
pub use events::{Evaluation, Events};
pub use experiment::{Assets, Experiment};
pub use fidelity::{Detector, Diversity, Fidelity, FidelityEncoder, LpipsTrunk};
pub use guard::{Guard, GuardAction};
pub use hub::{HubFile, is_commit};
pub use memory::Memory;
pub use method::*;
pub use metric::Metric;
pub use net::{Motion, NetForm, NetId, NetSpec, Start};
pub use networks::{FakeForm, FakeScore, Lora, LoraInit, Student, Teacher, Tuning};
pub use optimizer::{Ema, Optim, Optimizer};
pub use precision::Precision;
pub use pretrain::{
    KindShares, Prediction, PreferenceModel, Pretrain, PretrainModel, Repaint, TeacherModel,
    WorldClipModel,
};
pub use prompts::{OnBadRow, PromptPaths, RowRules};
pub use recipe::{Plan, Recipe, RlPart, Setup};
pub use referenced::ReferencedFile;
pub use reward::{
    CaptionReward, ClipCheckpoint, ClipReward, HeadReward, RemoteReward, Reward, RewardModel,
    RewardWeights, VlmReward,
};
pub use rl::{
    Dpo, Groups, Grpo, Needs, Refresh, ReinforcementLearning, RlAlgorithm, StepWeighting,
    Transition,
};
pub use table::{Table, TableModel, TablePrompts, Who};
pub use time::TimeDistribution;
pub use world::{Classes, EmojiWorld, PromptFiles, World, WorldPreset};
