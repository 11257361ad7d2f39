//! [`LoadReport`]: how a weight file compares with a network.

use std::{collections::BTreeMap, fmt};

use tch::Kind;

use crate::header::Header;

/// How a file's tensors compare with what a network asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Asked for, not in the file.
    pub missing: Vec<String>,
    /// In the file, not asked for.
    pub unexpected: Vec<String>,
    /// Name, expected shape, found shape.
    pub reshaped: Vec<(String, Vec<i64>, Vec<i64>)>,
    /// Widened from f16 or bf16.
    pub cast: Vec<String>,
}

impl LoadReport {
    pub(crate) fn compare(
        expected: &BTreeMap<String, (Vec<i64>, Kind)>,
        found: &BTreeMap<String, Header>,
    ) -> Self {
        let mut report = Self {
            unexpected: found
                .keys()
                .filter(|n| !expected.contains_key(*n))
                .cloned()
                .collect(),
            ..Self::default()
        };
        for (name, (shape, kind)) in expected {
            match found.get(name) {
                None => report.missing.push(name.clone()),
                Some(header) if header.shape != *shape => {
                    let found = header.shape.clone();
                    report.reshaped.push((name.clone(), shape.clone(), found));
                }
                Some(header) if header.kind != *kind => report.cast.push(name.clone()),
                Some(_) => {}
            }
        }
        report
    }

    /// Whether names and shapes agree.
    pub fn fits(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.reshaped.is_empty()
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let few = |names: &[String]| names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            parts.push(format!(
                "{} missing ({} ..)",
                self.missing.len(),
                few(&self.missing)
            ));
        }
        if !self.unexpected.is_empty() {
            parts.push(format!(
                "{} unexpected ({} ..)",
                self.unexpected.len(),
                few(&self.unexpected)
            ));
        }
        if let Some((name, expected, found)) = self.reshaped.first() {
            parts.push(format!(
                "{} of another shape (`{name}`: expected {expected:?}, found {found:?})",
                self.reshaped.len()
            ));
        }
        f.write_str(&parts.join("; "))
    }
}
