//! [`Document`]: a configuration file of any kind. How each is loaded and checked is in a file of its own.

mod experiment;
mod pretrain;
mod table;
mod text;

use std::path::Path;

use self::text::Kind;
use crate::error::ConfigError;
use crate::experiment::Experiment;
use crate::pretrain::Pretrain;
use crate::referenced::ReferencedFile;
use crate::table::Table;

/// A configuration file of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// For `dmdr train`.
    Experiment(Box<Experiment>),
    /// For `dmdr pretrain`.
    Pretrain(Box<Pretrain>),
    /// For `dmdr eval table`.
    Table(Box<Table>),
}

impl Document {
    /// Finds out which kind of document a file is, and loads it.
    ///
    /// # Errors
    /// As [`Experiment::load`], and when the file is of neither kind.
    pub fn load(path: impl AsRef<Path>, overrides: &[String]) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = text::read(path)?;
        match Kind::of(path, &text)? {
            Kind::Experiment => Experiment::parse(path, &text, overrides)
                .map(|experiment| Self::Experiment(Box::new(experiment))),
            Kind::Pretrain => Pretrain::parse(path, &text, overrides)
                .map(|pretrain| Self::Pretrain(Box::new(pretrain))),
            Kind::Table => {
                Table::parse(path, &text, overrides).map(|table| Self::Table(Box::new(table)))
            }
        }
    }

    /// Name of the run.
    pub fn name(&self) -> &str {
        match self {
            Self::Experiment(experiment) => &experiment.name,
            Self::Pretrain(pretrain) => &pretrain.name,
            Self::Table(table) => &table.name,
        }
    }

    /// `experiment`, `pretrain` or `table`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Experiment(_) => "experiment",
            Self::Pretrain(_) => "pretrain",
            Self::Table(_) => "table",
        }
    }

    /// The resolved configuration, defaults included.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Experiment(experiment) => experiment.to_toml(),
            Self::Pretrain(pretrain) => pretrain.to_toml(),
            Self::Table(table) => table.to_toml(),
        }
    }

    /// Short stable hash of the resolved configuration.
    pub fn hash(&self) -> String {
        text::hash(&self.to_toml())
    }

    /// What is allowed but probably not meant.
    pub fn warnings(&self) -> Vec<String> {
        match self {
            Self::Experiment(experiment) => experiment.warnings(),
            Self::Pretrain(pretrain) => pretrain.warnings(),
            Self::Table(_) => Vec::new(),
        }
    }

    /// Every file the configuration names, with its key.
    pub fn referenced_files(&self) -> Vec<ReferencedFile> {
        match self {
            Self::Experiment(experiment) => experiment.referenced_files(),
            Self::Pretrain(pretrain) => pretrain.referenced_files(),
            Self::Table(table) => table.referenced_files(),
        }
    }
}
