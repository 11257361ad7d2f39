//! How an [`Experiment`] is loaded, checked and written.

use std::path::Path;

use super::text::{self, Kind};
use crate::check;
use crate::error::ConfigError;
use crate::experiment::Experiment;
use crate::recipe::Recipe;

impl Experiment {
    /// Reads a file, applies `--set` overrides (`a.b.c=value`) and checks all rules.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, has an unknown key or a value out of range (with line and
    /// caret), an override does not fit, or keys contradict each other.
    pub fn load(path: impl AsRef<Path>, overrides: &[String]) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        Self::parse(path, &text::read(path)?, overrides)
    }

    /// Reads a document from text; `path` only names it in errors.
    ///
    /// # Errors
    /// As [`Experiment::load`].
    pub fn parse(path: &Path, text: &str, overrides: &[String]) -> Result<Self, ConfigError> {
        let experiment: Self = text::parse(path, text, overrides, Kind::Experiment)?;
        experiment.check().map_err(|error| error.in_file(path))?;
        Ok(experiment)
    }

    /// Rules that tie several keys together.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with every rule that is broken.
    pub fn check(&self) -> Result<(), ConfigError> {
        ConfigError::from_problems(check::experiment(self))
    }

    /// The rules of a method that another program brings along, which [`Self::check`] cannot know.
    ///
    /// # Errors
    /// As for [`Self::check`].
    pub fn check_method(&self, recipe: &dyn Recipe) -> Result<(), ConfigError> {
        ConfigError::from_problems(check::method(self, recipe))
    }

    /// What such a method warns of.
    pub fn method_warnings(&self, recipe: &dyn Recipe) -> Vec<String> {
        check::method_warnings(self, recipe)
    }

    /// What is allowed but probably not meant; for the start of a run's log.
    pub fn warnings(&self) -> Vec<String> {
        check::experiment_warnings(self)
    }

    /// The resolved configuration, defaults included; loading it gives an equal value.
    ///
    /// # Panics
    /// If an integer was set in code above `i64::MAX`, which TOML cannot hold.
    pub fn to_toml(&self) -> String {
        text::render(self)
    }

    /// Short stable hash (16 hexadecimal digits of SHA-256) of [`Experiment::to_toml`].
    pub fn hash(&self) -> String {
        text::hash(&self.to_toml())
    }

    /// Hash of [`Self::resumable`].
    pub fn identity(&self) -> String {
        self.resumable().hash()
    }
}
