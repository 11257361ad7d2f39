//! Lines of JSON files, with errors that say where.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::FileError;
use crate::text::{self, Line};

/// Every line of a JSON-lines file with its number, from 1. Blank lines are skipped.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Vec<(u64, T)>, FileError> {
    let mut file = text::open(path)?;
    let mut records = Vec::new();
    for number in 1.. {
        let line = text::next_line(&mut file, u64::MAX).map_err(FileError::io("read", path))?;
        let Some(Line::Whole(line)) = line else { break };
        if line.trim_ascii().is_empty() {
            continue;
        }
        let record = serde_json::from_slice(&line)
            .map_err(|error| FileError::line(path, number, message(&error)))?;
        records.push((number, record));
    }
    Ok(records)
}

/// What is wrong with a line of JSON. The parser's own message calls every line the first.
pub(crate) fn message(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let message = message.split(" at line ").next().unwrap_or_default();
    format!("{message} (column {})", error.column())
}

/// `values` as JSON lines.
pub fn render<T: serde::Serialize>(values: &[T]) -> String {
    values
        .iter()
        .map(|value| serde_json::to_string(value).expect("plain data renders") + "\n")
        .collect()
}
