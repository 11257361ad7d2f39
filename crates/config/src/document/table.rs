//! How a [`Table`] is loaded, checked and written.

use std::path::Path;

use super::text::{self, Kind};
use crate::check;
use crate::error::ConfigError;
use crate::table::Table;

impl Table {
    /// Reads a file and applies overrides (`key=value`, `key` dotted).
    ///
    /// # Errors
    /// A file that cannot be read, is no such document, or breaks a rule.
    pub fn load(path: impl AsRef<Path>, overrides: &[String]) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        Self::parse(path, &text::read(path)?, overrides)
    }

    pub(crate) fn parse(
        path: &Path,
        text: &str,
        overrides: &[String],
    ) -> Result<Self, ConfigError> {
        let table: Self = text::parse(path, text, overrides, Kind::Table)?;
        ConfigError::from_problems(check::table(&table)).map_err(|error| error.in_file(path))?;
        Ok(table)
    }

    /// The resolved configuration, defaults included; loading it gives an equal value.
    ///
    /// # Panics
    /// If an integer was set in code above `i64::MAX`, which TOML cannot hold.
    pub fn to_toml(&self) -> String {
        text::render(self)
    }
}
