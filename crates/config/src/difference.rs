//! [`differences`]: what differs between two resolved configurations, key by key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use crate::error::ConfigError;

/// A key with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Dotted path; places in lists are numbers.
    pub key: String,
    /// As TOML; none where the key is not set.
    pub before: Option<String>,
    /// Likewise.
    pub after: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |value: &Option<String>| value.clone().unwrap_or_else(|| "not set".to_owned());
        let (before, after) = (value(&self.before), value(&self.after));
        write!(f, "`{}` was {before} and is {after}", self.key)
    }
}

/// What differs between the texts `before`, of the file `path`, and `after`, in the order of keys.
///
/// # Errors
/// A text that is not TOML.
pub fn differences(path: &Path, before: &str, after: &str) -> Result<Vec<Difference>, ConfigError> {
    let (before, after) = (leaves(path, before)?, leaves(path, after)?);
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let difference = |key: &String| {
        let (before, after) = (before.get(key).cloned(), after.get(key).cloned());
        (before != after).then(|| Difference {
            key: key.clone(),
            before,
            after,
        })
    };
    Ok(keys.into_iter().filter_map(difference).collect())
}

/// Every value that holds no others, by its dotted path.
fn leaves(path: &Path, text: &str) -> Result<BTreeMap<String, String>, ConfigError> {
    let table: toml::Table = text
        .parse()
        .map_err(|error: toml::de::Error| ConfigError::Parse {
            path: path.to_owned(),
            message: error.to_string(),
            hint: None,
        })?;
    let mut leaves = BTreeMap::new();
    collect("", &toml::Value::Table(table), &mut leaves);
    Ok(leaves)
}

fn collect(key: &str, value: &toml::Value, leaves: &mut BTreeMap<String, String>) {
    let below = |name: &str| {
        if key.is_empty() {
            name.to_owned()
        } else {
            format!("{key}.{name}")
        }
    };
    match value {
        toml::Value::Table(table) if !table.is_empty() => {
            for (name, value) in table {
                collect(&below(name), value, leaves);
            }
        }
        toml::Value::Array(list) if list.iter().any(toml::Value::is_table) => {
            for (index, value) in list.iter().enumerate() {
                collect(&below(&index.to_string()), value, leaves);
            }
        }
        value => {
            leaves.insert(key.to_owned(), value.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_differ_are_named_with_both_values() {
        let before = "a = 1\nb = { c = 0.5, d = [1, 2] }\n[[e]]\nf = \"x\"\n";
        let after = "a = 1\nb = { c = 0.25, d = [1, 2] }\n[[e]]\nf = \"x\"\n[[e]]\nf = \"y\"\n";
        let path = Path::new("config.toml");
        let found = differences(path, before, after).expect("TOML");
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "`b.c` was 0.5 and is 0.25",
                "`e.1.f` was not set and is \"y\"",
            ]
        );
        assert_eq!(differences(path, before, before).expect("TOML"), []);
        let error = differences(path, "a = ", after).expect_err("no TOML");
        assert!(error.to_string().contains("config.toml"), "{error}");
    }
}
