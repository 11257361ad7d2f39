//! What can stop a training run.

use std::path::{Path, PathBuf};

use dmdr_batches::BatchError;
use dmdr_config::NetId;
use dmdr_events::EventsError;
use dmdr_models::ModelError;
use dmdr_tensor::TensorError;
use dmdr_world::WorldError;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A loss term or gradient norm that is NaN or infinite. Nothing was updated.
    #[error(
        "`{what}` is {value} in update {update}, which changed nothing; the batch is in `{}`. The last checkpoint has finite weights. \
         Lower the learning rate, and train under another `name`",
        post_mortem.display()
    )]
    NotFinite {
        /// Term or norm.
        what: String,
        /// Its value.
        value: f64,
        /// Update index.
        update: u64,
        /// Where the batch was kept.
        post_mortem: PathBuf,
    },
    /// A run that was begun with another config.
    #[error(
        "run `{}` was begun with another config: {}; resume it with `{}/config.toml`, or train under another `name`",
        run.display(),
        differences.join(", "),
        run.display()
    )]
    OtherKeys {
        /// Its folder.
        run: PathBuf,
        /// Keys with their values then and now.
        differences: Vec<String>,
    },
    /// A checkpoint of a run whose updates take another number of batches together.
    #[error(
        "checkpoint `{}`: an update takes {expected} batches together, and now it would take {found}: `accumulate` times the \
         number of processes",
        path.display()
    )]
    OtherBatches {
        /// The checkpoint.
        path: PathBuf,
        /// Of the checkpoint.
        expected: u64,
        /// Of this run.
        found: u64,
    },
    /// A number of processes that cannot share what an update takes.
    #[error(
        "run `{}`: an update takes {batches} batches together, which {ranks} processes cannot share evenly; start a divisor of \
         {batches}",
        run.display()
    )]
    UnevenRanks {
        /// The run.
        run: PathBuf,
        /// Of its updates.
        batches: u64,
        /// Processes.
        ranks: u64,
    },
    /// A checkpoint made under another config than the run's `config.toml` of today.
    #[error(
        "checkpoint `{}` was made with config {found}, the run's `config.toml` is now {expected}: put the old `config.toml` \
         back, or train under another `name`",
        path.display()
    )]
    OtherConfig {
        /// The checkpoint.
        path: PathBuf,
        /// Hash of the config in use.
        expected: String,
        /// Hash in the manifest.
        found: String,
    },
    /// Prompts that changed under a run.
    #[error(
        "`{}` (key `{key}`) no longer holds the prompts that run `{}` began with: put the old file back, or train under \
         another `name`",
        path.display(),
        run.display()
    )]
    OtherPrompts {
        /// The config key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The run's folder.
        run: PathBuf,
    },
    /// A file other than those that a run began with.
    #[error(
        "`{}` (key `{key}`) is not the file that run `{}` began with: {difference}; put the old file \
         back, or start a new run under another `name`, where `{init}` can go on from this one's weights",
        path.display(),
        run.display()
    )]
    OtherInput {
        /// The config key.
        key: String,
        /// The file.
        path: PathBuf,
        /// The run's folder.
        run: PathBuf,
        /// The hashes then and now, or that there was or is no file.
        difference: String,
        /// The key that starts a run from weights.
        init: &'static str,
    },
    /// A size of images that the model cannot make.
    #[error(
        "`world.prompts.size` is {found}, but `{}` makes images whose side is a multiple of {step} pixels{most}: use {nearest}",
        pipeline.display()
    )]
    Size {
        /// The key's value.
        found: i64,
        /// The pipeline's folder.
        pipeline: PathBuf,
        /// [`dmdr_models::ImageSides::step`].
        step: i64,
        /// The largest side, in words.
        most: String,
        /// What works, in words.
        nearest: String,
    },
    /// A checkpoint that differs from what its manifest says.
    #[error("checkpoint `{}` is damaged: {reason}; {way_out}", folder.display())]
    DamagedCheckpoint {
        /// Its folder.
        folder: PathBuf,
        /// The file, and what differs.
        reason: String,
        /// What to do, and where the run then goes on.
        way_out: String,
    },
    /// A damaged file of a run that is no checkpoint.
    #[error(
        "file `{}` of a run is damaged: {reason}; put a whole copy back, or remove it to go on without its check",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A network that cannot be built as its method asks.
    #[error("network `{name}` of the method: {source}")]
    Network {
        /// Its name.
        name: NetId,
        /// Cause.
        source: ModelError,
    },
    /// A run without the checkpoints that it wrote.
    #[error(
        "run `{}` has records of {done} updates but no checkpoint of this version: put its folder `checkpoints` back, or train \
         under another `name`",
        run.display()
    )]
    LostCheckpoints {
        /// The run.
        run: PathBuf,
        /// Updates that it has records of.
        done: u64,
    },
    /// A run that did not reach its end.
    #[error(
        "`{}` has no finished student; continue it with `dmdr train {}/config.toml --root {} --resume`, unless it is a run of \
         `dmdr pretrain`, which has none",
        path.display(),
        path.display(),
        path.parent().filter(|root| !root.as_os_str().is_empty()).unwrap_or(Path::new(".")).display()
    )]
    Unfinished {
        /// The run.
        path: PathBuf,
    },
    /// The config of a run.
    #[error(transparent)]
    Config(#[from] dmdr_config::ConfigError),
    /// A text encoder and a backbone that do not fit together.
    #[error("`{what}`: {reason}")]
    Incompatible {
        /// The config key.
        what: String,
        /// What does not fit.
        reason: String,
    },
    /// A class that the model does not have.
    #[error("`{found}` is no class: expected a number from 0 to {}", count - 1)]
    Class {
        /// What was asked for.
        found: String,
        /// Number of classes.
        count: i64,
    },
    /// Prompt files.
    #[error(transparent)]
    Prompts(#[from] dmdr_prompts::PromptsError),
    /// A repository of the hub.
    #[error(
        "`{repository}` at revision `{revision}` on the Hugging Face hub: {reason} (a folder `{repository}` is not here either)"
    )]
    Hub {
        /// `owner/name`.
        repository: String,
        /// Commit, tag or branch.
        revision: String,
        /// Cause.
        reason: String,
    },
    /// An adapter that does not fit the config.
    #[error("cannot import `{}`: {reason}", path.display())]
    Import {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A student that has no such form.
    #[error("cannot export: {0}")]
    Export(String),
    /// A file that a table is made of, or its folder.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// `read` or `create`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// Files of a run.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// Networks and weight files.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Tensors and optimisers.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// Captions.
    #[error(transparent)]
    Data(#[from] BatchError),
    /// Methods and rewards.
    #[error(transparent)]
    Method(#[from] dmdr_methods::MethodError),
    /// Rewards.
    #[error(transparent)]
    Reward(#[from] dmdr_rewards::RewardError),
    /// Metrics.
    #[error(transparent)]
    Eval(#[from] dmdr_eval::EvalError),
    /// The embedded world.
    #[error(transparent)]
    World(#[from] WorldError),
}
