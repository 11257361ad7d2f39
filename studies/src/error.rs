//! What can stop a laboratory.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// Networks.
    #[error(transparent)]
    Model(#[from] dmdr_models::ModelError),
    /// Tensors and optimisers.
    #[error(transparent)]
    Tensor(#[from] dmdr_tensor::TensorError),
    /// Methods and rewards.
    #[error(transparent)]
    Method(#[from] dmdr_methods::MethodError),
    /// A reward model.
    #[error(transparent)]
    Reward(#[from] dmdr_rewards::RewardError),
    /// A training run.
    #[error(transparent)]
    Train(#[from] dmdr_train::TrainError),
    /// A config.
    #[error(transparent)]
    Config(#[from] dmdr_config::ConfigError),
    /// An evaluation.
    #[error(transparent)]
    Eval(#[from] dmdr_eval::EvalError),
    /// Stopped on request; what was finished is kept.
    #[error("stopped; run the same command again to go on")]
    Interrupted,
    /// Another process makes this unit.
    #[error("another process is at this unit of the laboratory")]
    Busy,
    /// Files of a run.
    #[error(transparent)]
    Events(#[from] dmdr_events::EventsError),
    /// A file operation failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl LabError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}
