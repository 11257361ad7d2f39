//! What runs log.

use std::{collections::BTreeMap, path::Path};

/// Values by update and name.
pub(crate) type Numbers = BTreeMap<(u64, String), f64>;

/// All numbers of a run's updates that are not about time, nor about the parts in which a batch was computed.
pub(crate) fn numbers(run: &Path) -> Numbers {
    let records = dmdr_events::read(run.join("metrics.jsonl")).expect("records");
    let named = records.into_iter().flat_map(|record| {
        let values = record.values.into_iter();
        values.map(move |(name, value)| ((record.update, name), value))
    });
    named
        .filter(|((_, name), _)| !name.starts_with("time/") && name != "parts")
        .collect()
}
