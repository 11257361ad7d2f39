//! Errors of this crate.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read configuration `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The text is not TOML, or a key or value does not fit; `message` has line, column and caret.
    #[error("in `{}`: {}{}", path.display(), message.trim_end(), hint_line(hint.as_deref()))]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column, the line itself with a caret, what was found and what was expected.
        message: String,
        /// The nearest valid key, if one is near.
        hint: Option<String>,
    },
    /// A `--set` override does not fit.
    #[error("in override `--set {argument}`: {message}{}", hint_line(hint.as_deref()))]
    Override {
        /// The override as typed.
        argument: String,
        /// What was found and what was expected.
        message: String,
        /// The nearest valid key, if one is near.
        hint: Option<String>,
    },
    /// The file is the other kind of document, or neither.
    #[error("in `{}`: {message}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What was found and what to do.
        message: String,
    },
    /// Keys contradict each other.
    #[error("{}", invalid_text(path.as_deref(), problems))]
    Invalid {
        /// The file, if the configuration came from one.
        path: Option<PathBuf>,
        /// Every broken rule.
        problems: Vec<Problem>,
    },
}

/// One broken rule between keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The keys it is about, as dotted paths.
    pub keys: Vec<String>,
    /// The values found and the rule they break.
    pub found: String,
    /// What to do.
    pub action: String,
}

impl Problem {
    /// A rule about `keys` that is broken.
    pub fn new(keys: &[&str], found: impl Into<String>, action: impl Into<String>) -> Self {
        Self {
            keys: keys.iter().map(ToString::to_string).collect(),
            found: found.into(),
            action: action.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}`: {}; {}",
            self.keys.join("`, `"),
            self.found,
            self.action
        )
    }
}

impl ConfigError {
    pub(crate) fn from_problems(problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self::Invalid {
                path: None,
                problems,
            })
        }
    }

    /// Adds the file to an error of `check`.
    pub(crate) fn in_file(self, file: &Path) -> Self {
        match self {
            Self::Invalid {
                path: None,
                problems,
            } => Self::Invalid {
                path: Some(file.to_owned()),
                problems,
            },
            other => other,
        }
    }
}

fn hint_line(hint: Option<&str>) -> String {
    hint.map(|hint| format!("\nhint: {hint}"))
        .unwrap_or_default()
}

fn invalid_text(path: Option<&Path>, problems: &[Problem]) -> String {
    let place = path.map_or_else(
        || "the configuration".to_owned(),
        |path| format!("`{}`", path.display()),
    );
    let lines: Vec<String> = problems.iter().map(|p| format!("\n  {p}")).collect();
    format!("{place} contradicts itself:{}", lines.concat())
}
