//! The processes that train together, on libtorch's own store and process group (Gloo).

mod place;

use std::{
    collections::VecDeque,
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tch::{Device, Kind, Tensor, no_grad_guard};

pub use place::{Place, PlaceError};

use crate::{
    TensorError,
    shim::ranks::{Group, Meeting, Reduce, Work},
};

/// A process tells the others that it lives so often.
const BEAT: Duration = Duration::from_secs(1);
/// Who has not done so for this long is gone.
const GONE: Duration = Duration::from_secs(4);
/// So many buckets are on their way at a time.
const AT_ONCE: usize = 4;
/// Numbers of tensors that are reduced together: 25 MiB of f32, as in PyTorch's DDP.
const BUCKET: usize = 25 << 18;

/// The processes that train together, as one of them sees them. Made once; all do the same with them in the same order.
#[derive(Clone, Copy, Debug)]
pub struct Ranks {
    rank: u32,
    count: u32,
    shared: Option<&'static Shared>,
}

#[derive(Debug)]
struct Shared {
    group: Group,
    timeout: Duration,
    /// Collectives that this process has begun.
    begun: AtomicU64,
}

impl PartialEq for Ranks {
    fn eq(&self, other: &Self) -> bool {
        (self.rank, self.count) == (other.rank, other.count)
    }
}

impl Eq for Ranks {}

impl Ranks {
    /// One process by itself.
    pub const ALONE: Self = Self {
        rank: 0,
        count: 1,
        shared: None,
    };

    /// Meets the other processes at `place`. A collective that one of them does not come to for `timeout` is an error, which
    /// names it.
    ///
    /// # Errors
    /// If they do not meet within `timeout`.
    pub fn join(place: &Place, timeout: Duration) -> Result<Self, TensorError> {
        let group = Group::join(&meeting(place, timeout))?;
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            group,
            timeout,
            begun: AtomicU64::new(0),
        }));
        let ranks = Self {
            rank: place.rank,
            count: place.ranks,
            shared: Some(shared),
        };
        thread::spawn(move || ranks.live());
        Ok(ranks)
    }

    /// Which one this is, from 0.
    pub fn rank(self) -> u64 {
        u64::from(self.rank)
    }

    /// How many there are.
    pub fn count(self) -> u64 {
        u64::from(self.count)
    }

    /// Whether this is the one that writes and measures.
    pub fn is_first(self) -> bool {
        self.rank == 0
    }

    /// Makes tensors of one kind and device the means over all processes. They go in buckets, some at once.
    ///
    /// # Errors
    /// A process that is gone or hangs, by name.
    pub fn mean(self, tensors: &mut [Tensor]) -> Result<(), TensorError> {
        let Some(shared) = self.shared else {
            return Ok(());
        };
        let _guard = no_grad_guard();
        let finish = |(bucket, mut flat, work): (&mut [Tensor], Tensor, Work)| {
            self.wait(work)?;
            let _ = flat.g_div_scalar_(f64::from(self.count));
            unpack(&flat, bucket);
            Ok::<_, TensorError>(())
        };
        let mut on_their_way = VecDeque::new();
        for bucket in buckets_of(tensors) {
            if on_their_way.len() == AT_ONCE
                && let Some(first) = on_their_way.pop_front()
            {
                finish(first)?;
            }
            let flat: Vec<Tensor> = bucket.iter().map(|tensor| tensor.reshape([-1])).collect();
            let flat = Tensor::cat(&flat, 0);
            let work = shared.begin(|group| group.reduce(&flat, Reduce::Sum));
            on_their_way.push_back((bucket, flat, work.map_err(|error| self.lost(&error))?));
        }
        on_their_way.into_iter().try_for_each(finish)
    }

    /// Makes tensors of one kind and device those of process `root`, in buckets.
    ///
    /// # Errors
    /// As for [`Self::mean`].
    pub fn spread(self, tensors: &mut [Tensor], root: u64) -> Result<(), TensorError> {
        let Some(shared) = self.shared else {
            return Ok(());
        };
        let _guard = no_grad_guard();
        for bucket in buckets_of(tensors) {
            let flat: Vec<Tensor> = bucket.iter().map(|tensor| tensor.reshape([-1])).collect();
            let flat = Tensor::cat(&flat, 0);
            let work = shared.begin(|group| group.broadcast(&flat, root as u32));
            self.wait(work.map_err(|error| self.lost(&error))?)?;
            if root != self.rank() {
                unpack(&flat, bucket);
            }
        }
        Ok(())
    }

    /// So many processes that never meet, for arithmetic.
    #[cfg(test)]
    pub(crate) fn counted(count: u32) -> Self {
        Self {
            count,
            ..Self::ALONE
        }
    }

    /// Sums of numbers over all processes.
    ///
    /// # Errors
    /// As for [`Self::mean`].
    pub fn sum(self, values: &[f64]) -> Result<Vec<f64>, TensorError> {
        self.reduced(values, Reduce::Sum)
    }

    /// The largest of numbers over all processes.
    ///
    /// # Errors
    /// As for [`Self::mean`].
    pub fn max(self, values: &[f64]) -> Result<Vec<f64>, TensorError> {
        self.reduced(values, Reduce::Max)
    }

    /// The smallest of numbers over all processes.
    ///
    /// # Errors
    /// As for [`Self::mean`].
    pub fn min(self, values: &[f64]) -> Result<Vec<f64>, TensorError> {
        self.reduced(values, Reduce::Min)
    }

    /// The numbers of the first process.
    ///
    /// # Errors
    /// As for [`Self::mean`].
    pub fn of_first(self, values: &[f64]) -> Result<Vec<f64>, TensorError> {
        self.all(values, |group, tensor| group.broadcast(tensor, 0))
    }

    fn reduced(self, values: &[f64], how: Reduce) -> Result<Vec<f64>, TensorError> {
        self.all(values, |group, tensor| group.reduce(tensor, how))
    }

    fn all(
        self,
        values: &[f64],
        collective: impl FnOnce(&Group, &Tensor) -> Result<Work, TensorError>,
    ) -> Result<Vec<f64>, TensorError> {
        let (Some(shared), false) = (self.shared, values.is_empty()) else {
            return Ok(values.to_vec());
        };
        let tensor = Tensor::from_slice(values)
            .to_device(Device::Cpu)
            .to_kind(Kind::Double);
        let work = shared.begin(|group| collective(group, &tensor));
        self.wait(work.map_err(|error| self.lost(&error))?)?;
        Ok(Vec::<f64>::try_from(tensor).expect("f64"))
    }

    fn wait(self, work: Work) -> Result<(), TensorError> {
        work.wait().map_err(|error| self.lost(&error))
    }

    /// Tells the others every second that this process lives, and how far it is.
    fn live(self) {
        let Some(shared) = self.shared else { return };
        let mut beat = 0_u64;
        loop {
            let begun = shared.begun.load(Ordering::Relaxed);
            let news = format!("{beat} {begun} {}", process::id());
            // Who serves the store may have ended already; then so does this process, soon.
            if shared.group.tell(&key(self.rank), &news).is_err() {
                return;
            }
            beat += 1;
            thread::sleep(BEAT);
        }
    }

    /// Why a collective failed: which process is gone, or which one does not come to it.
    fn lost(self, error: &TensorError) -> TensorError {
        let Some(shared) = self.shared else {
            return TensorError::torch("processes", &error.to_string());
        };
        let started = Instant::now();
        let others: Vec<u32> = (0..self.count).filter(|rank| *rank != self.rank).collect();
        let ask = || -> Result<Vec<Option<News>>, TensorError> {
            let ask = |rank: &u32| Ok(News::read(shared.group.ask(&key(*rank))?));
            others.iter().map(ask).collect()
        };
        let news = ask().and_then(|before| {
            thread::sleep(GONE);
            Ok((before, ask()?))
        });
        let begun = shared.begun.load(Ordering::Relaxed);
        let reason = match news {
            Err(_) => format!("process 0 of {}, where all meet, is gone", self.count),
            Ok((before, after)) => {
                let all = others.iter().zip(before.iter().zip(&after));
                let gone = all.clone().find(|(_, (before, after))| before == after);
                let behind = all
                    .filter_map(|(rank, (_, after))| Some((rank, after.as_ref()?)))
                    .filter(|(_, news)| news.begun < begun)
                    .min_by_key(|(_, news)| news.begun);
                match (gone, behind) {
                    (Some((rank, (_, news))), _) => {
                        let pid = news
                            .as_ref()
                            .map_or(String::new(), |news| format!(" (pid {})", news.pid));
                        format!("process {rank} of {}{pid} is gone", self.count)
                    }
                    (None, Some((rank, news))) => format!(
                        "process {rank} of {} (pid {}) does not go on: it has not come to exchange {begun} within {} s",
                        self.count,
                        news.pid,
                        shared.timeout.as_secs()
                    ),
                    (None, None) => error.to_string(),
                }
            }
        };
        if self.is_first() {
            // The others ask here what became of whom.
            thread::sleep((GONE * 2).saturating_sub(started.elapsed()));
        }
        TensorError::Rank {
            rank: self.rank(),
            ranks: self.count(),
            reason,
        }
    }
}

impl Shared {
    fn begin(
        &self,
        collective: impl FnOnce(&Group) -> Result<Work, TensorError>,
    ) -> Result<Work, TensorError> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        collective(&self.group)
    }
}

/// Where `place` says, as libtorch wants to know it. On one machine nobody asks for names.
fn meeting(place: &Place, timeout: Duration) -> Meeting {
    let is_here = ["127.0.0.1", "localhost", "::1"].contains(&place.host.as_str());
    Meeting {
        host: place.host.clone(),
        port: place.port,
        serves: place.rank == 0 && !place.is_served,
        prefix: format!("dmdr/{}", place.session),
        rank: place.rank,
        ranks: place.ranks,
        timeout_ms: timeout.as_millis() as i64,
        address: (is_here && place.is_local).then(|| "127.0.0.1".to_owned()),
    }
}

/// What a process tells of itself.
#[derive(Debug, PartialEq, Eq)]
struct News {
    beat: u64,
    begun: u64,
    pid: u64,
}

impl News {
    fn read(text: Option<String>) -> Option<Self> {
        let text = text?;
        let mut words = text.split(' ').map(|word| word.parse().ok());
        let mut next = || words.next().flatten();
        Some(Self {
            beat: next()?,
            begun: next()?,
            pid: next()?,
        })
    }
}

/// The numbers of `flat`, one tensor after the other.
fn unpack(flat: &Tensor, tensors: &mut [Tensor]) {
    let mut start = 0;
    for tensor in tensors {
        let len = tensor.numel() as i64;
        tensor.copy_(&flat.narrow(0, start, len).view_as(tensor));
        start += len;
    }
}

fn key(rank: u32) -> String {
    format!("process/{rank}")
}

/// `tensors` in order, so many numbers together.
fn buckets_of(mut tensors: &mut [Tensor]) -> Vec<&mut [Tensor]> {
    let mut buckets = Vec::new();
    while !tensors.is_empty() {
        let mut numel = 0;
        let mut len = 0;
        while len < tensors.len() && (len == 0 || numel + tensors[len].numel() <= BUCKET) {
            numel += tensors[len].numel();
            len += 1;
        }
        let (bucket, rest) = tensors.split_at_mut(len);
        buckets.push(bucket);
        tensors = rest;
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_everything_stays() {
        let ranks = Ranks::ALONE;
        let mut tensors = [Tensor::from_slice(&[1.0f32, 2.0])];
        ranks.mean(&mut tensors).expect("alone");
        assert_eq!(Vec::<f32>::try_from(&tensors[0]).expect("f32"), [1.0, 2.0]);
        assert_eq!(ranks.sum(&[3.0]).expect("alone"), [3.0]);
        assert!(ranks.is_first());
    }

    #[test]
    fn buckets_hold_all_in_order() {
        let zeros = |len: usize| Tensor::zeros([len as i64], (Kind::Int8, Device::Cpu));
        let mut tensors = [BUCKET + 1, 1, BUCKET - 1, 1, 2].map(zeros);
        let sizes = buckets_of(&mut tensors);
        let sizes: Vec<usize> = sizes.iter().map(|bucket| bucket.len()).collect();
        assert_eq!(sizes, [1, 2, 2]);
    }
}
