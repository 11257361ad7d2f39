//! What was run, on what, and for how long: from `config.toml` and `env.json`.

use std::fs;

use dmdr_events::{Environment, RunDir};

use crate::error::ReportError;

/// The run in words.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) name: String,
    pub(crate) config: String,
    pub(crate) environment: Option<Environment>,
    table: toml::Table,
}

impl Facts {
    pub(crate) fn read(run: &RunDir) -> Result<Self, ReportError> {
        let path = run.config();
        let config = fs::read_to_string(&path).map_err(ReportError::io("read", &path))?;
        // Only for words on the page: a configuration of another version must not stop a report.
        let table = config.parse::<toml::Table>().unwrap_or_default();
        let folder = run
            .path()
            .canonicalize()
            .unwrap_or_else(|_| run.path().to_owned());
        let folder_name = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        let name = table
            .get("name")
            .and_then(toml::Value::as_str)
            .map(str::to_owned);
        let environment = if run.env().is_file() {
            Some(Environment::read(run.env())?)
        } else {
            None
        };
        Ok(Self {
            name: name.or(folder_name).unwrap_or_default(),
            config,
            environment,
            table,
        })
    }

    /// A value of the configuration by its dotted path.
    pub(crate) fn value(&self, path: &str) -> Option<&toml::Value> {
        let mut keys = path.split('.');
        let first = self.table.get(keys.next()?)?;
        keys.try_fold(first, |value, key| value.get(key))
    }

    pub(crate) fn seed(&self) -> Option<i64> {
        self.value("seed")?.as_integer()
    }

    /// What the run does in one line, as far as the configuration says.
    pub(crate) fn sentence(&self) -> Option<String> {
        let student = self.value("student.num_steps")?.as_integer()?;
        let teacher = self.value("teacher.num_steps")?.as_integer()?;
        let guidance = self
            .value("teacher.guidance")
            .and_then(number)
            .unwrap_or(1.0);
        let teacher = if guidance <= 1.0 {
            format!("{teacher}-step teacher")
        } else {
            format!("{teacher}-step teacher with guidance {guidance}")
        };
        let plural = if student == 1 { "" } else { "s" };
        let has_rewards = self
            .value("rewards")
            .and_then(toml::Value::as_array)
            .is_some_and(|r| !r.is_empty());
        let rewards = if has_rewards {
            ", distilled and reinforced in one run"
        } else {
            ", distilled"
        };
        Some(format!(
            "A student of {student} step{plural} from a {teacher}{rewards}."
        ))
    }
}

fn number(value: &toml::Value) -> Option<f64> {
    value
        .as_float()
        .or_else(|| value.as_integer().map(|integer| integer as f64))
}
