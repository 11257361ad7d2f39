//! What became of the rows of prompt files.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use dmdr_config::OnBadRow;
use serde::{Serialize, Serializer};

use crate::fingerprint::fingerprint;
use crate::{BadRow, Options, PromptsError};

/// How many bad rows a [`Census`] tells in full.
const MAX_EXAMPLES: usize = 20;

/// What became of all rows: `rows = kept + bad + short + long + duplicates`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Census {
    /// All rows of all sources.
    pub rows: u64,
    /// Prompts of the set.
    pub kept: u64,
    /// Rows with a fault.
    pub bad: u64,
    /// Prompts with too few characters.
    pub short: u64,
    /// Prompts with too many characters.
    pub long: u64,
    /// Prompts that were there before; counted on request only.
    pub duplicates: u64,
    /// Number of bad rows by [`Fault::kind`](crate::Fault::kind).
    pub faults: BTreeMap<&'static str, u64>,
    /// The first bad rows; serialised as text.
    #[serde(serialize_with = "as_text")]
    pub examples: Vec<BadRow>,
}

impl Census {
    /// Counts a good row, and whether it is kept.
    pub(super) fn admit(
        &mut self,
        text: &str,
        options: &Options,
        seen: &mut HashSet<u128>,
    ) -> bool {
        let chars = text.chars().count();
        let count = if chars < options.min_chars {
            &mut self.short
        } else if chars > options.max_chars {
            &mut self.long
        } else if options.deduplicate && !seen.insert(fingerprint(text)) {
            &mut self.duplicates
        } else {
            self.kept += 1;
            return true;
        };
        *count += 1;
        false
    }

    /// Counts a bad row, or stops with it.
    pub(super) fn refuse(&mut self, row: BadRow, on_bad_row: OnBadRow) -> Result<(), PromptsError> {
        if on_bad_row == OnBadRow::Fail {
            return Err(row.into());
        }
        self.bad += 1;
        *self.faults.entry(row.fault.kind()).or_default() += 1;
        if self.examples.len() < MAX_EXAMPLES {
            self.examples.push(row);
        }
        Ok(())
    }
}

fn as_text<S: Serializer>(rows: &[BadRow], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(rows.iter().map(ToString::to_string))
}

/// The counts that are not zero, on one line.
impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {} kept", self.rows, self.kept)?;
        if self.bad > 0 {
            let kinds = self.faults.iter();
            let kinds: Vec<String> = kinds
                .map(|(kind, count)| format!("{count} {kind}"))
                .collect();
            write!(f, ", {} bad ({})", self.bad, kinds.join(", "))?;
        }
        for (count, what) in [
            (self.short, "too short"),
            (self.long, "too long"),
            (self.duplicates, "duplicates"),
        ] {
            if count > 0 {
                write!(f, ", {count} {what}")?;
            }
        }
        Ok(())
    }
}
