//! Numbers to log that stay on their device until all of them are read at once.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};

use crate::phantom;

/// Named scalars, of which some are on a device. Reading one there waits for all the work before it, so an update collects
/// them and reads them once, at its end.
#[derive(Debug, Default)]
pub struct Numbers {
    known: BTreeMap<String, f64>,
    on_device: BTreeMap<String, Tensor>,
}

impl Numbers {
    /// Adds a number that is known.
    pub fn know(&mut self, name: impl Into<String>, value: f64) {
        self.known.insert(name.into(), value);
    }

    /// Adds the value of a scalar tensor of any kind, without its graph.
    pub fn keep(&mut self, name: impl Into<String>, value: &Tensor) {
        self.on_device.insert(name.into(), value.detach());
    }

    /// Adds all of `others`.
    pub fn extend(&mut self, others: Self) {
        self.known.extend(others.known);
        self.on_device.extend(others.on_device);
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty() && self.on_device.is_empty()
    }

    /// All values, with one wait for each device that has some.
    pub fn read(self) -> BTreeMap<String, f64> {
        let (names, tensors): (Vec<_>, Vec<_>) = self.on_device.into_iter().unzip();
        let mut all = self.known;
        all.extend(names.into_iter().zip(read_scalars(&tensors)));
        all
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
        let expected = [
            ("a", 0.1),
            ("b", f64::from(1.0f32 / 3.0)),
            ("c", 7.0),
            ("d", f64::MAX),
            ("e", 1.0),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(numbers.read(), BTreeMap::from(expected));
    }
}
