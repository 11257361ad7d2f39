//! The processes that train together, on libtorch's own store and process group (Gloo).

mod place;
pub(crate) mod serve;

use std::{
    collections::VecDeque,
    process,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tch::{Tensor, no_grad_guard};

pub use place::{Place, PlaceError};

pub(crate) use crate::shim::ranks::{Exchange, Work};
use crate::{
    TensorError,
    shim::ranks::{Group, Meeting},
};

/// A process tells the others that it lives so often.
const BEAT: Duration = Duration::from_secs(1);
/// Who has not done so for this long is gone.
const GONE: Duration = Duration::from_secs(4);
/// So many buckets are on their way at a time.
const AT_ONCE: usize = 4;
/// Numbers of tensors that are reduced together: 25 MiB of f32, as in PyTorch's DDP.
pub(crate) const BUCKET: usize = 25 << 18;

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
    /// What each process keeps a part of, and how often the first one has asked for some.
    parts: Mutex<Vec<Tensor>>,
    asked: AtomicU64,
    /// Whether the first process computes by itself.
    is_led: AtomicBool,
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
        let group = Group::join(&meeting(place, timeout));
        let group = group.map_err(|error| apart(place, timeout, &error))?;
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            group,
            timeout,
            begun: AtomicU64::new(0),
            parts: Mutex::default(),
            asked: AtomicU64::new(0),
            is_led: AtomicBool::new(false),
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
        self.in_buckets(tensors, Exchange::Sum, |mut sum| {
            sum.g_div_scalar_(f64::from(self.count))
        })
    }

    /// Makes tensors of one kind and device those of process `root`, in buckets.
    ///
    /// # Errors
    /// As for [`Self::mean`].
    pub fn spread(self, tensors: &mut [Tensor], root: u64) -> Result<(), TensorError> {
        self.in_buckets(tensors, Exchange::Of(root as u32), |of_root| of_root)
    }

    fn in_buckets(
        self,
        tensors: &mut [Tensor],
        exchange: Exchange,
        then: impl Fn(Tensor) -> Tensor,
    ) -> Result<(), TensorError> {
        if self.shared.is_none() {
            return Ok(());
        }
        let _guard = no_grad_guard();
        let finish = |(bucket, flat, work): (&mut [Tensor], Tensor, Work)| {
            self.wait(work)?;
            unpack(&then(flat), bucket);
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
            let work = self.begin(&flat, exchange)?;
            on_their_way.push_back((bucket, flat, work));
        }
        on_their_way.into_iter().try_for_each(finish)
    }

    /// So many processes that never meet, as the first of them sees them: for rehearsals.
    pub fn counted(count: u32) -> Self {
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
        self.exchanged(values, Exchange::Sum)
    }

    /// The largest of numbers over all processes.
    ///
    /// # Errors
    /// As for [`Self::mean`].
    pub fn max(self, values: &[f64]) -> Result<Vec<f64>, TensorError> {
        self.exchanged(values, Exchange::Max)
    }

    /// The numbers of the first process.
    ///
    /// # Errors
    /// As for [`Self::mean`].
    pub fn of_first(self, values: &[f64]) -> Result<Vec<f64>, TensorError> {
        self.exchanged(values, Exchange::Of(0))
    }

    fn exchanged(self, values: &[f64], exchange: Exchange) -> Result<Vec<f64>, TensorError> {
        if self.shared.is_none() || values.is_empty() {
            return Ok(values.to_vec());
        }
        let tensor = Tensor::from_slice(values);
        let work = self.begin(&tensor, exchange)?;
        self.wait(work)?;
        Ok(Vec::<f64>::try_from(tensor).expect("f64"))
    }

    /// Begins an exchange.
    pub(crate) fn begin(self, tensor: &Tensor, exchange: Exchange) -> Result<Work, TensorError> {
        // Those who never meet are done at once.
        let Some(shared) = self.shared else {
            return Ok(Work::done());
        };
        shared.begun.fetch_add(1, Ordering::Relaxed);
        let work = shared.group.begin(tensor, exchange);
        work.map_err(|error| self.lost(&error))
    }

    pub(crate) fn wait(self, work: Work) -> Result<(), TensorError> {
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

/// That the processes did not meet, and what to do.
fn apart(place: &Place, timeout: Duration, error: &TensorError) -> TensorError {
    let (host, port) = (&place.host, place.port);
    let told = error.to_string();
    let reason = if told.contains("EADDRINUSE") {
        format!(
            "port {port} of {host} is taken: set another `MASTER_PORT` for all processes of this run"
        )
    } else {
        format!(
            "the {} processes did not meet at {host}:{port} within {} s: start all of them, with the same `MASTER_ADDR` and \
             `MASTER_PORT` ({told})",
            place.ranks,
            timeout.as_secs()
        )
    };
    TensorError::Rank {
        rank: u64::from(place.rank),
        ranks: u64::from(place.ranks),
        reason,
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
    use std::net::TcpListener;

    use tch::{Device, Kind};

    use super::*;

    /// Two of this process's threads, as processes that meet.
    fn two(timeout: Duration) -> [thread::JoinHandle<Ranks>; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port().to_string();
        drop(listener);
        ["0", "1"].map(|rank| {
            let port = port.clone();
            thread::spawn(move || {
                let variable = |name: &str| match name {
                    "RANK" => Some(rank.to_owned()),
                    "WORLD_SIZE" => Some("2".to_owned()),
                    "MASTER_ADDR" => Some("127.0.0.1".to_owned()),
                    "MASTER_PORT" => Some(port.clone()),
                    _ => None,
                };
                let place = Place::find(variable).expect("fits").expect("two");
                Ranks::join(&place, timeout).expect("they meet")
            })
        })
    }

    #[test]
    fn two_exchange_what_they_have() {
        let [first, second] = two(Duration::from_secs(60));
        let all = [first, second].map(|joined| {
            thread::spawn(move || {
                let ranks = joined.join().expect("it meets the other");
                let own = ranks.rank() as f64 + 1.0;
                let mut means = [Tensor::from_slice(&[own, 4.0]), Tensor::from(own)];
                ranks.mean(&mut means).expect("a mean");
                let mut spread = [Tensor::from_slice(&[own, -own])];
                ranks.spread(&mut spread, 1).expect("of the second");
                (
                    ranks.sum(&[own, 1.0]).expect("a sum"),
                    ranks.max(&[own, -own]).expect("the largest"),
                    ranks.of_first(&[own]).expect("of the first"),
                    means.map(|mean| mean.sum(Kind::Double).double_value(&[])),
                    Vec::<f64>::try_from(&spread[0]).expect("f64"),
                )
            })
        });
        for found in all {
            let expected = (
                vec![3.0, 2.0],
                vec![2.0, -1.0],
                vec![1.0],
                [5.5, 1.5],
                vec![2.0, -2.0],
            );
            assert_eq!(found.join().expect("it ends"), expected);
        }
    }

    #[test]
    fn what_all_keep_in_parts_is_whole_for_each_and_for_the_first_alone() {
        let all = two(Duration::from_secs(60)).map(|joined| {
            thread::spawn(move || {
                let ranks = joined.join().expect("it meets the other");
                let part = Tensor::from_slice(&[ranks.rank() as f32; 3]);
                let index = ranks.share(&part);
                let read = || Vec::<f32>::try_from(ranks.gather(&part, index)).expect("f32");
                let together = read();
                // Longer than anybody naps.
                let by_itself = if ranks.is_first() {
                    ranks.lead(|| {
                        thread::sleep(Duration::from_millis(200));
                        [read(), read()].concat()
                    })
                } else {
                    ranks.serve().map(|()| Vec::new())
                };
                ranks.sum(&[1.0]).expect("both go on");
                (together, by_itself.expect("both live"))
            })
        });
        let [first, second] = all.map(|found| found.join().expect("it ends"));
        let whole = [0f32, 0.0, 0.0, 1.0, 1.0, 1.0];
        assert_eq!(first, (whole.to_vec(), whole.repeat(2)));
        assert_eq!(second, (whole.to_vec(), Vec::new()));
    }

    #[test]
    fn who_lives_but_does_not_come_is_named() {
        let [first, second] = two(Duration::from_secs(2));
        let (first, second) = (first.join(), second.join());
        let (_lives, waits) = (first.expect("they meet"), second.expect("they meet"));
        let error = waits.sum(&[1.0]).expect_err("the first does not come");
        let told = error.to_string();
        assert!(
            told.starts_with("process 1 of 2 cannot go on: process 0 of 2 (pid ")
                && told.ends_with("does not go on: it has not come to exchange 1 within 2 s"),
            "{told}"
        );
    }

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
