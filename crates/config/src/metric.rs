//! [`Metric`]: a reward model that measures and is not trained on.

use serde::{Deserialize, Serialize};

use crate::document::ReferencedFile;
use crate::reward::RewardModel;

/// A column of a table, or a number of the periodic evaluation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name; absent = that of the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A reward model of the field. Cosines (`clip`, `hps`) are given times 100, as tables of papers do.
    pub model: RewardModel,
}

impl Metric {
    /// What its numbers are called.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or(self.model.name())
    }

    /// What scores are multiplied by.
    pub fn factor(&self) -> f64 {
        match self.model {
            RewardModel::Clip(_) | RewardModel::Hps(_) => 100.0,
            _ => 1.0,
        }
    }

    /// Its files, whose keys begin with `key`.
    pub(crate) fn referenced_files(&self, key: &str) -> Vec<ReferencedFile> {
        let key = format!("{key}.model.{}", self.model.name());
        let files = self.model.files().into_iter();
        files
            .map(|(field, path)| ReferencedFile::new(format!("{key}.{field}"), path))
            .collect()
    }
}
