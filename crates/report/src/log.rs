//! The records of a run, turned around: one series per number.

use std::collections::BTreeMap;

use dmdr_events::{Kind, Record};

/// Most points a line is drawn with; more are averaged in groups of equal size.
const MAX_POINTS: usize = 160;

/// Values of one number by update, in the order they were logged.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Series {
    /// Step and value; finite ones only.
    pub(crate) points: Vec<(f64, f64)>,
    /// Steps whose value was NaN or infinite.
    pub(crate) broken: Vec<f64>,
}

/// Consecutive values drawn as one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bin {
    pub(crate) update: f64,
    pub(crate) mean: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Series {
    /// At most [`MAX_POINTS`] points, each of [`Series::group`] consecutive values.
    pub(crate) fn bins(&self) -> Vec<Bin> {
        self.points
            .chunks(self.group())
            .map(|chunk| {
                let n = chunk.len() as f64;
                let values = || chunk.iter().map(|(_, value)| *value);
                Bin {
                    update: chunk.iter().map(|(update, _)| update).sum::<f64>() / n,
                    mean: values().sum::<f64>() / n,
                    low: values().fold(f64::INFINITY, f64::min),
                    high: values().fold(f64::NEG_INFINITY, f64::max),
                }
            })
            .collect()
    }

    /// How many values one point stands for.
    pub(crate) fn group(&self) -> usize {
        self.points.len().div_ceil(MAX_POINTS).max(1)
    }

    /// The value at an update, if it was logged then.
    pub(crate) fn at(&self, update: f64) -> Option<f64> {
        let found = self.points.iter().find(|(at, _)| *at >= update)?;
        (found.0 <= update).then_some(found.1)
    }
}

/// All numbers of a run.
#[derive(Debug, Default)]
pub(crate) struct Log {
    series: BTreeMap<(Kind, String), Series>,
    num_records: usize,
    last_update: Option<u64>,
    wall_s: f64,
}

impl Log {
    pub(crate) fn new(records: &[Record]) -> Self {
        let mut log = Self {
            num_records: records.len(),
            ..Self::default()
        };
        for record in records {
            log.last_update = log.last_update.max(Some(record.update));
            log.wall_s = log.wall_s.max(record.wall_s);
            for (key, value) in &record.values {
                let series = log.series.entry((record.kind, key.clone())).or_default();
                if value.is_finite() {
                    series.points.push((record.update as f64, *value));
                } else {
                    series.broken.push(record.update as f64);
                }
            }
        }
        log
    }

    /// The series of one number; where two kinds of record have it, that of an update.
    pub(crate) fn get(&self, key: &str) -> Option<&Series> {
        self.iter()
            .find(|(_, name, _)| *name == key)
            .map(|(_, _, series)| series)
    }

    /// All series, updates first, then by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Kind, &str, &Series)> {
        self.series
            .iter()
            .map(|((kind, key), series)| (*kind, key.as_str(), series))
    }

    pub(crate) fn num_records(&self) -> usize {
        self.num_records
    }

    /// Number of updates, counted from update 0.
    pub(crate) fn num_updates(&self) -> u64 {
        self.last_update.map_or(0, |update| update + 1)
    }

    /// Seconds of training over all resumes.
    pub(crate) fn wall_s(&self) -> f64 {
        self.wall_s
    }

    /// The update from which the reward takes part, where it joins later than the start.
    pub(crate) fn rl_start(&self) -> Option<f64> {
        let weight = self.get("rl/weight")?;
        let first = weight.points.iter().position(|(_, value)| *value > 0.0)?;
        (first > 0).then(|| weight.points[first].0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(n: u64) -> Vec<Record> {
        (0..n)
            .map(|update| {
                let weight = if update < 4 { 0.0 } else { 0.3 };
                let loss = if update == 2 { f64::NAN } else { update as f64 };
                Record::new(
                    update,
                    Kind::Train,
                    update as f64,
                    [("loss/dm", loss), ("rl/weight", weight)],
                )
            })
            .collect()
    }

    #[test]
    fn series_leave_out_what_is_not_finite_and_say_so() {
        let log = Log::new(&records(6));
        let loss = log.get("loss/dm").expect("logged");
        assert_eq!(loss.points.len(), 5);
        assert_eq!(loss.broken, [2.0]);
        assert_eq!(loss.at(3.0), Some(3.0));
        assert_eq!(loss.at(2.0), None);
        assert_eq!(log.num_updates(), 6);
        assert_eq!(log.rl_start(), Some(4.0));
    }

    #[test]
    fn long_series_are_grouped() {
        let series = Series {
            points: (0..1000)
                .map(|update| (f64::from(update), f64::from(update % 2)))
                .collect(),
            broken: Vec::new(),
        };
        assert_eq!(series.group(), 7);
        let bins = series.bins();
        assert!(bins.len() <= MAX_POINTS);
        assert_eq!((bins[0].low, bins[0].high, bins[0].update), (0.0, 1.0, 3.0));
    }

    #[test]
    fn an_empty_log_is_empty() {
        let log = Log::new(&[]);
        assert_eq!((log.num_updates(), log.rl_start()), (0, None));
        assert!(Series::default().bins().is_empty());
    }
}
