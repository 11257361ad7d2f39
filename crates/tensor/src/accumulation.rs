//! The gradient of a batch, part by part, and over all processes while the last part is still computed.

use std::{cmp::Reverse, ops::Range};

use tch::{Kind, Tensor, no_grad_guard};

use crate::{
    ParamGroup, Ranks, TensorError,
    gradients::gradients,
    ranks::{BUCKET, Exchange, Work},
    shim,
};

/// Gradients of the same parameters, summed over parts of a batch. Of several processes it makes the mean: gradients go in
/// buckets, each as soon as all of it is there, while the pass backwards goes on (PyTorch's DDP, arXiv 2006.15704). What is sent
/// is not sent again: a pass that is repeated, as memory ran out, finds it done.
#[derive(Debug)]
pub struct Accumulation {
    ranks: Ranks,
    params: Vec<Tensor>,
    /// Of the parts before the last; empty without any.
    sums: Vec<Tensor>,
    parts: usize,
    buckets: Vec<Bucket>,
    /// Of each parameter: its bucket, and its numbers there.
    places: Vec<(usize, Range<i64>)>,
    /// Buckets that were sent: all before this one.
    sent: usize,
    failed: Option<TensorError>,
}

/// Gradients that travel together.
#[derive(Debug)]
struct Bucket {
    len: i64,
    /// Which parameters.
    params: Vec<usize>,
    /// Their gradients in a row, from the first one on.
    flat: Option<Tensor>,
    /// Those that are there.
    filled: Vec<usize>,
    work: Option<Work>,
}

impl Accumulation {
    /// For the parameters of `group`, over `ranks`.
    pub fn new(group: &ParamGroup, ranks: Ranks) -> Self {
        Self::with_buckets(group, ranks, BUCKET)
    }

    fn with_buckets(group: &ParamGroup, ranks: Ranks, size: usize) -> Self {
        let params: Vec<Tensor> = group.tensors.iter().map(Tensor::shallow_clone).collect();
        // One process sends nothing.
        let num_sent = if ranks == Ranks::ALONE {
            0
        } else {
            params.len()
        };
        let mut order: Vec<usize> = (0..num_sent).collect();
        // Backwards, the last layers come first.
        order.sort_by_cached_key(|&index| Reverse(natural(&group.names[index])));
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut places = vec![(0, 0..0); params.len()];
        for index in order {
            let numel = params[index].numel() as i64;
            let is_full = |bucket: &Bucket| bucket.len + numel > size as i64;
            if buckets.last().is_none_or(is_full) {
                buckets.push(Bucket {
                    len: 0,
                    params: Vec::new(),
                    flat: None,
                    filled: Vec::new(),
                    work: None,
                });
            }
            let last = buckets.len() - 1;
            let bucket = &mut buckets[last];
            places[index] = (last, bucket.len..bucket.len + numel);
            bucket.len += numel;
            bucket.params.push(index);
        }
        Self {
            ranks,
            params,
            sums: Vec::new(),
            parts: 1,
            buckets,
            places,
            sent: 0,
            failed: None,
        }
    }

    /// Forgets all parts, but not what other processes have got.
    pub fn restart(&mut self) {
        self.sums.clear();
        for bucket in &mut self.buckets[self.sent..] {
            bucket.filled.clear();
        }
    }

    /// Adds the gradient of `loss`, the mean over one of `parts` of equal size.
    ///
    /// # Errors
    /// If `loss` has no graph, or libtorch refuses.
    pub fn add(&mut self, loss: &Tensor, is_last: bool, parts: usize) -> Result<(), TensorError> {
        self.parts = parts;
        if is_last && self.ranks != Ranks::ALONE {
            return self.add_and_send(loss);
        }
        let found = gradients(loss, &self.params)?;
        if self.sums.is_empty() {
            self.sums = found;
            return Ok(());
        }
        let _guard = no_grad_guard();
        for (sum, gradient) in self.sums.iter_mut().zip(&found) {
            let _ = sum.g_add_(gradient);
        }
        Ok(())
    }

    /// The mean over all parts and processes, in the order of the group.
    ///
    /// # Errors
    /// A process that is gone or hangs, by name.
    pub fn finish(mut self) -> Result<Vec<Tensor>, TensorError> {
        let _guard = no_grad_guard();
        if self.ranks == Ranks::ALONE {
            if self.parts > 1 {
                for sum in &mut self.sums {
                    let _ = sum.g_div_scalar_(self.parts as f64);
                }
            }
            return Ok(self.sums);
        }
        for index in 0..self.params.len() {
            if !self.is_there(index) {
                self.take(index, None);
            }
        }
        if let Some(error) = self.failed {
            return Err(error);
        }
        let count = self.ranks.count() as f64;
        let mut flats = Vec::new();
        for bucket in self.buckets {
            let (mut flat, work) = bucket.flat.zip(bucket.work).expect("all were sent");
            self.ranks.wait(work)?;
            flats.push(flat.g_div_scalar_(count));
        }
        let means = self.params.iter().zip(&self.places);
        let means = means.map(|(param, (bucket, place))| view(&flats[*bucket], place, param));
        Ok(means.collect())
    }

    fn add_and_send(&mut self, loss: &Tensor) -> Result<(), TensorError> {
        if !loss.requires_grad() {
            return gradients(loss, &self.params).map(drop);
        }
        let params: Vec<Tensor> = self.params.iter().map(Tensor::shallow_clone).collect();
        shim::gradients_heard(loss, &params, |index, gradient| {
            if !self.is_there(index) {
                self.take(index, Some(gradient));
            }
        })
    }

    fn is_there(&self, index: usize) -> bool {
        let (bucket, _) = &self.places[index];
        *bucket < self.sent || self.buckets[*bucket].filled.contains(&index)
    }

    /// Puts the last part's gradient of a parameter, if the loss reaches it, to those before, and sends what is full.
    fn take(&mut self, index: usize, gradient: Option<&Tensor>) {
        let _guard = no_grad_guard();
        let param = &self.params[index];
        let (of, place) = &self.places[index];
        let bucket = &mut self.buckets[*of];
        let len = bucket.len;
        let flat = bucket
            .flat
            .get_or_insert_with(|| Tensor::empty([len], (Kind::Float, param.device())));
        let mut own = view(flat, place, param);
        match gradient {
            Some(gradient) => own.copy_(gradient),
            None => drop(own.zero_()),
        }
        if let Some(sum) = self.sums.get(index) {
            let _ = own.g_add_(sum);
        }
        if self.parts > 1 {
            let _ = own.g_div_scalar_(self.parts as f64);
        }
        bucket.filled.push(index);
        self.send();
    }

    /// Sends full buckets, in their order: all processes do so in the same.
    fn send(&mut self) {
        while self.failed.is_none()
            && let Some(bucket) = self.buckets.get_mut(self.sent)
            && bucket.filled.len() == bucket.params.len()
            && let Some(flat) = &bucket.flat
        {
            match self.ranks.begin(flat, Exchange::Sum) {
                Ok(work) => bucket.work = Some(work),
                Err(error) => self.failed = Some(error),
            }
            self.sent += 1;
        }
    }
}

/// The numbers of `flat` at `place`, in the shape of `param`.
fn view(flat: &Tensor, place: &Range<i64>, param: &Tensor) -> Tensor {
    flat.narrow(0, place.start, place.end - place.start)
        .view(&param.size()[..])
}

/// `name` so that numbers in it sort as numbers.
fn natural(name: &str) -> Vec<(u64, String)> {
    let part = |part: &str| (part.parse().unwrap_or(u64::MAX), part.to_owned());
    name.split('.').map(part).collect()
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::{recompute, reseed};

    fn group(names: &[&str]) -> ParamGroup {
        reseed(&[4]);
        let leaf =
            |_: &&str| Tensor::randn([3, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        ParamGroup {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            tensors: names.iter().map(leaf).collect(),
        }
    }

    const NAMES: [&str; 4] = ["blocks.10.weight", "blocks.2.weight", "idle", "in"];

    /// Uses one parameter twice, one of them in a piece that is computed again, and one not at all.
    fn loss(group: &ParamGroup, x: f64) -> Tensor {
        let [last, first, _, start] = &group.tensors[..] else {
            unreachable!("four")
        };
        let again = first.shallow_clone();
        let piece = recompute(&[start], move |inputs| (&inputs[0] * &again).tanh());
        let y = (piece * x + first) * last;
        y.square().sum(Kind::Float)
    }

    #[test]
    fn one_process_has_the_mean_of_its_parts() {
        let group = group(&NAMES);
        let mut sum = Accumulation::new(&group, Ranks::ALONE);
        sum.add(&loss(&group, 9.0), false, 2).expect("a graph");
        sum.restart();
        sum.add(&loss(&group, 1.0), false, 2).expect("a graph");
        sum.add(&loss(&group, 2.0), true, 2).expect("a graph");
        let found = sum.finish().expect("alone");
        let [one, two] = [1.0, 2.0].map(|x| group.grads(&loss(&group, x)).expect("a graph"));
        for ((found, one), two) in found.iter().zip(&one).zip(&two) {
            assert_eq!(*found, (one + two) / 2.0);
        }
    }

    #[test]
    fn what_is_sent_while_the_pass_goes_on_is_the_gradient() {
        let group = group(&NAMES);
        let expected = group.grads(&loss(&group, 1.0)).expect("a graph");
        // As one of two of which the other has nothing: sums are its own.
        for size in [1, 7, 100] {
            let mut sum = Accumulation::with_buckets(&group, Ranks::counted(2), size);
            sum.add(&loss(&group, 1.0), true, 1).expect("a graph");
            let order: Vec<usize> = sum
                .buckets
                .iter()
                .flat_map(|one| one.params.clone())
                .collect();
            assert_eq!(order, [3, 2, 0, 1], "the last block before the others");
            // What the loss does not reach is there in the end.
            let found = sum.finish().expect("nobody is lost");
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(*found, expected / 2.0, "{size}");
            }
        }
    }

    #[test]
    fn who_fails_while_it_hears_fails_the_pass() {
        let group = group(&NAMES);
        let failed = std::panic::catch_unwind(|| {
            shim::gradients_heard(&loss(&group, 1.0), &group.tensors, |_, _| {
                std::panic::resume_unwind(Box::new("want of memory"))
            })
        });
        let panic = failed.expect_err("it failed");
        assert_eq!(panic.downcast_ref(), Some(&"want of memory"));
    }

    #[test]
    fn a_pass_that_is_repeated_sends_the_rest() {
        let group = group(&NAMES);
        let expected = group.grads(&loss(&group, 1.0)).expect("a graph");
        let mut sum = Accumulation::with_buckets(&group, Ranks::counted(2), 1);
        sum.take(3, Some(&expected[3]));
        sum.take(0, Some(&expected[0]));
        assert_eq!(sum.sent, 1, "`idle` is before the blocks");
        sum.restart();
        // Another loss in the first part that is thrown away, and the same one in two halves.
        for is_last in [false, true] {
            sum.add(&loss(&group, 1.0), is_last, 2).expect("a graph");
        }
        let found = sum.finish().expect("nobody is lost");
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(*found, expected / 2.0);
        }
    }
}
