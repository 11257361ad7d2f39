//! Numbers to log that stay on their device until all of them are read at once.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::{Ranks, TensorError, mix, phantom};

/// Named numbers, of which some are on a device. Reading one there waits for all the work before it, so an update collects
/// them and reads them once, at its end.
#[derive(Debug, Default)]
pub struct Numbers(BTreeMap<String, Number>);

#[derive(Debug)]
enum Number {
    /// The same for all parts of a batch.
    Known(f64),
    /// A scalar; the mean over parts is that of the batch.
    Mean(Tensor),
    /// A scalar; numbers of things add up over parts.
    Count(Tensor),
    /// As a count, and worth a word only if there are any.
    CountIfAny(Tensor),
    /// One number for each sample, `[n]`.
    Samples(Tensor),
}

impl Numbers {
    /// Adds a number that is known.
    pub fn know(&mut self, name: impl Into<String>, value: f64) {
        self.0.insert(name.into(), Number::Known(value));
    }

    /// Adds the value of a scalar tensor of any kind, without its graph: a mean over the samples.
    pub fn keep(&mut self, name: impl Into<String>, value: &Tensor) {
        self.0.insert(name.into(), Number::Mean(value.detach()));
    }

    /// Adds how many there are of something: a scalar tensor.
    pub fn count(&mut self, name: impl Into<String>, value: &Tensor) {
        self.0.insert(name.into(), Number::Count(value.detach()));
    }

    /// As [`Self::count`], but left out if there are none. All processes have the same names, so it is added all the same.
    pub fn count_if_any(&mut self, name: impl Into<String>, value: &Tensor) {
        let value = Number::CountIfAny(value.detach());
        self.0.insert(name.into(), value);
    }

    /// Adds `<name>/{mean,min,max,std}` of one number for each sample, `[n]`; left out if there is none.
    pub fn describe(&mut self, name: impl Into<String>, samples: &Tensor) {
        self.0
            .insert(name.into(), Number::Samples(samples.detach()));
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Of the whole batch, from those of its equal parts.
    #[must_use]
    pub fn of_parts(mut parts: Vec<Self>) -> Self {
        if parts.len() == 1 {
            return parts.remove(0);
        }
        let count = parts.len() as f64;
        let mut found: BTreeMap<String, Vec<Number>> = BTreeMap::new();
        for (name, number) in parts.into_iter().flat_map(|part| part.0) {
            found.entry(name).or_default().push(number);
        }
        let joined = found.into_iter().filter_map(|(name, numbers)| {
            let joined = numbers.into_iter().reduce(Number::join)?;
            Some((name, joined.divided(count)))
        });
        Self(joined.collect())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All values, with one wait for each device that has some.
    pub fn read(self) -> BTreeMap<String, f64> {
        let all = self.read_over(Ranks::ALONE);
        all.expect("one process waits for no other")
    }

    /// All values over all processes, which have the same names.
    ///
    /// # Errors
    /// A process that is gone or hangs.
    pub fn read_over(self, ranks: Ranks) -> Result<BTreeMap<String, f64>, TensorError> {
        self.check_names(ranks)?;
        let scalars: Vec<Tensor> = self.0.values().flat_map(Number::scalars).collect();
        let mut own = read_scalars(&scalars).into_iter();
        let (mut sums, mut most) = (Vec::new(), Vec::new());
        for number in self.0.values() {
            let mut next = || own.next().expect("as many as were read");
            match number {
                Number::Known(_) => {}
                Number::Mean(_) => sums.push(next() / ranks.count() as f64),
                Number::Count(_) | Number::CountIfAny(_) => sums.push(next()),
                Number::Samples(_) => {
                    sums.extend([next(), next(), next()]);
                    most.extend([-next(), next()]);
                }
            }
        }
        let mut sums = ranks.sum(&sums)?.into_iter();
        let mut most = ranks.max(&most)?.into_iter();
        let mut all = BTreeMap::new();
        for (name, number) in self.0 {
            let mut sum = || sums.next().expect("as many as were sent");
            match number {
                Number::Known(value) => {
                    all.insert(name, value);
                }
                Number::Mean(_) | Number::Count(_) => {
                    all.insert(name, sum());
                }
                Number::CountIfAny(_) => {
                    let count = sum();
                    if count != 0.0 {
                        all.insert(name, count);
                    }
                }
                Number::Samples(_) => {
                    let (count, total, squares) = (sum(), sum(), sum());
                    let mut most = || most.next().expect("as many as were sent");
                    let (min, max) = (-most(), most());
                    if count > 0.0 {
                        let mean = total / count;
                        let variance = (squares / count - mean * mean).max(0.0);
                        all.insert(format!("{name}/mean"), mean);
                        all.insert(format!("{name}/min"), min);
                        all.insert(format!("{name}/max"), max);
                        all.insert(format!("{name}/std"), variance.sqrt());
                    }
                }
            }
        }
        Ok(all)
    }
}

impl Numbers {
    /// That all processes have the same names: their numbers are added up in this order.
    fn check_names(&self, ranks: Ranks) -> Result<(), TensorError> {
        if ranks == Ranks::ALONE {
            return Ok(());
        }
        let hash = self
            .0
            .keys()
            .flat_map(|name| name.bytes())
            .fold(0, |hash, byte| mix(&[hash, u64::from(byte)]) as u64);
        // As many bits as an f64 tells apart.
        let own = (hash >> 11) as f64;
        if ranks.max(&[own, -own])? == [own, -own] {
            return Ok(());
        }
        let message =
            "processes log numbers of different names; each name has to be there in all of them";
        Err(TensorError::torch("numbers", message))
    }
}

impl Number {
    /// Sums, or all samples.
    fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Mean(a), Self::Mean(b)) => Self::Mean(a.to_kind(Kind::Double) + b),
            (Self::Count(a), Self::Count(b)) => Self::Count(a + b),
            (Self::CountIfAny(a), Self::CountIfAny(b)) => Self::CountIfAny(a + b),
            (Self::Samples(a), Self::Samples(b)) => Self::Samples(Tensor::cat(&[a, b], 0)),
            (first, _) => first,
        }
    }

    /// What has to be read of it: for samples their number, their sum, that of their squares, the smallest and the largest.
    fn scalars(&self) -> Vec<Tensor> {
        match self {
            Self::Known(_) => Vec::new(),
            Self::Mean(value) | Self::Count(value) | Self::CountIfAny(value) => {
                vec![value.shallow_clone()]
            }
            Self::Samples(samples) => {
                let wide = samples.to_kind(Kind::Double);
                let count = Tensor::from(samples.size()[0]);
                // Of none there is no smallest.
                let ends = |other: f64| Tensor::full([1], other, (Kind::Double, wide.device()));
                let with = |other: f64| Tensor::cat(&[&wide, &ends(other)], 0);
                vec![
                    count,
                    wide.sum(Kind::Double),
                    wide.square().sum(Kind::Double),
                    with(f64::INFINITY).min(),
                    with(f64::NEG_INFINITY).max(),
                ]
            }
        }
    }

    /// A mean from the sum over `count` parts.
    fn divided(self, count: f64) -> Self {
        match self {
            Self::Mean(sum) => Self::Mean(sum / count),
            other => other,
        }
    }
}

/// The values of scalar tensors, with one wait for each device; 1 for phantoms, which have none.
pub fn read_scalars(scalars: &[Tensor]) -> Vec<f64> {
    let mut values = vec![1.0; scalars.len()];
    let mut waiting: Vec<usize> = (0..scalars.len())
        .filter(|index| !phantom::is_phantom(scalars[*index].device()))
        .collect();
    while let Some(first) = waiting.first() {
        let device = scalars[*first].device();
        let (here, elsewhere): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|index| scalars[*index].device() == device);
        let wide = |index: &usize| scalars[*index].to_kind(Kind::Double).reshape([1]);
        let read = Tensor::cat(&here.iter().map(wide).collect::<Vec<_>>(), 0);
        let read = Vec::<f64>::try_from(read.to_device(Device::Cpu)).expect("f64");
        for (index, value) in here.into_iter().zip(read) {
            values[index] = value;
        }
        waiting = elsewhere;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<const N: usize>(values: [(&str, f64); N]) -> BTreeMap<String, f64> {
        let values = values.map(|(name, value)| (name.to_owned(), value));
        BTreeMap::from(values)
    }

    #[test]
    fn parts_give_means_sums_of_counts_and_all_samples() {
        let part = |value: f32| {
            let mut numbers = Numbers::default();
            numbers.know("lr", 0.5);
            numbers.keep("loss", &Tensor::from(value));
            numbers.count("pairs", &Tensor::from(value));
            numbers.describe("reward", &Tensor::from_slice(&[value, -value]));
            numbers.describe("none", &Tensor::from_slice::<f32>(&[]));
            numbers
        };
        let whole = named([
            ("lr", 0.5),
            ("loss", 3.0),
            ("pairs", 6.0),
            ("reward/mean", 0.0),
            ("reward/min", -4.0),
            ("reward/max", 4.0),
            ("reward/std", 10f64.sqrt()),
        ]);
        assert_eq!(Numbers::of_parts(vec![part(4.0), part(2.0)]).read(), whole);
        let one = Numbers::of_parts(vec![part(2.0)]).read();
        assert!((one["loss"] - 2.0).abs() < 1e-9 && (one["pairs"] - 2.0).abs() < 1e-9);
    }

    #[test]
    fn values_are_those_of_the_tensors_whatever_their_kind() {
        let mut numbers = Numbers::default();
        assert!(numbers.is_empty());
        numbers.know("a", 0.1);
        let third = Tensor::from(1.0f32 / 3.0).set_requires_grad(true);
        numbers.keep("b", &(&third * 1.0));
        numbers.keep("c", &Tensor::from(7i64));
        let mut more = Numbers::default();
        more.keep("d", &Tensor::from(f64::MAX));
        more.keep("e", &Tensor::ones([], (Kind::Float, phantom::device())));
        numbers.extend(more);
        let expected = named([
            ("a", 0.1),
            ("b", f64::from(1.0f32 / 3.0)),
            ("c", 7.0),
            ("d", f64::MAX),
            ("e", 1.0),
        ]);
        assert_eq!(numbers.read(), expected);
    }
}
