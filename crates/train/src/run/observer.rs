//! Who watches a run: the command line's progress bar, or nobody. Observers cannot change a number.

use std::{collections::BTreeMap, path::Path};

use crate::Verdict;

/// Told what happens; asked whether to go on.
pub trait Observer {
    /// After update `update` (counted from 1) of `total`.
    fn updated(&mut self, update: u64, total: u64, values: &BTreeMap<String, f64>);
    /// After a periodic evaluation.
    fn evaluated(&mut self, update: u64, values: &BTreeMap<String, f64>);
    /// After the guard has looked at an evaluation; `metric` is what it watches.
    fn guarded(&mut self, update: u64, metric: &str, verdict: Verdict);
    /// A picture or checkpoint was written.
    fn wrote(&mut self, what: &str, path: &Path);
    /// Something went on otherwise than it was meant to, in a sentence.
    fn warned(&mut self, text: &str);
    /// Whether to write a checkpoint and stop.
    fn interrupted(&self) -> bool;
}

/// Nobody.
#[derive(Debug)]
pub struct Silent;

impl Observer for Silent {
    fn updated(&mut self, _update: u64, _total: u64, _values: &BTreeMap<String, f64>) {}
    fn evaluated(&mut self, _update: u64, _values: &BTreeMap<String, f64>) {}
    fn guarded(&mut self, _update: u64, _metric: &str, _verdict: Verdict) {}
    fn wrote(&mut self, _what: &str, _path: &Path) {}
    fn warned(&mut self, _text: &str) {}
    fn interrupted(&self) -> bool {
        false
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All updates are done.
    Finished,
    /// Stopped on request after this many updates, with a checkpoint.
    Interrupted {
        /// Updates done.
        update: u64,
    },
}
