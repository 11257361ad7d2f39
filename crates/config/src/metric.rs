//! [`Metric`]: a reward model that measures and is not trained on.

use serde::{Deserialize, Serialize};

use crate::fidelity::{Detector, Diversity};
use crate::referenced::ReferencedFile;
use crate::reward::RewardModel;

/// A column of a table, or a number of the periodic evaluation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
}

/// Names of metrics, in the order in which they are measured.
pub(crate) fn names<'a>(
    metrics: &'a [Metric],
    detectors: &'a [Detector],
    diversity: Option<&'a Diversity>,
) -> Vec<&'a str> {
    let metrics = metrics.iter().map(Metric::name);
    let detectors = detectors.iter().map(|detector| detector.name());
    let diversity = diversity.map(|_| "diversity");
    metrics.chain(detectors).chain(diversity).collect()
}

/// Files of metrics, whose keys begin with `table`.
pub(crate) fn referenced_files(
    table: &str,
    metrics: &[Metric],
    diversity: Option<&Diversity>,
) -> Vec<ReferencedFile> {
    let mut files = Vec::new();
    for (index, Metric { model, .. }) in metrics.iter().enumerate() {
        for (field, path) in model.files() {
            let key = format!("{table}metrics.{index}.model.{}.{field}", model.name());
            files.push(ReferencedFile::new(key, path));
        }
    }
    for (field, path) in diversity.into_iter().flat_map(Diversity::files) {
        files.push(ReferencedFile::new(
            format!("{table}diversity.{field}"),
            path,
        ));
    }
    files
}
