//! Where the seconds of a computation go: a clock by phases, which stands still unless somebody starts it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tch::{Cuda, Device};

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

struct Running {
    device: Device,
    seconds: BTreeMap<&'static str, f64>,
    /// Phases that have begun, each with what its inner ones took.
    open: Vec<Duration>,
}

/// Runs `work` as a phase of this name. While a [`PhaseClock`] runs on this thread, it takes the time, for which it waits for
/// the device before and after; otherwise nothing is added.
pub fn phase<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
    let is_timed = RUNNING.with_borrow_mut(|running| {
        let Some(running) = running else { return false };
        running.open.push(Duration::ZERO);
        wait_for(running.device);
        true
    });
    let started = Instant::now();
    let result = work();
    if is_timed {
        RUNNING.with_borrow_mut(|running| {
            let Some(running) = running else { return };
            wait_for(running.device);
            let took = started.elapsed();
            let inner = running.open.pop().unwrap_or_default();
            if let Some(outer) = running.open.last_mut() {
                *outer += took;
            }
            let own = took.saturating_sub(inner).as_secs_f64();
            *running.seconds.entry(name).or_default() += own;
        });
    }
    result
}

/// Waits until a device has done all that it was given.
pub fn wait_for(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

/// Takes the time of all phases of its thread, until it is read. There is one at a time.
#[derive(Debug)]
pub struct PhaseClock(());

impl PhaseClock {
    /// Starts with nothing taken.
    pub fn start(device: Device) -> Self {
        let running = Running {
            device,
            seconds: BTreeMap::new(),
            open: Vec::new(),
        };
        RUNNING.set(Some(running));
        Self(())
    }

    /// Seconds by phase; those of a phase within another count for the inner one alone.
    pub fn read(self) -> BTreeMap<&'static str, f64> {
        let running = RUNNING.take();
        running.map(|running| running.seconds).unwrap_or_default()
    }
}

impl Drop for PhaseClock {
    fn drop(&mut self) {
        RUNNING.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    #[test]
    fn a_phase_within_another_counts_by_itself() {
        let pause = |milliseconds| sleep(Duration::from_millis(milliseconds));
        let work = || {
            phase("outer", || {
                pause(20);
                phase("inner", || pause(60));
                3
            })
        };
        assert_eq!(work(), 3);
        let clock = PhaseClock::start(Device::Cpu);
        work();
        phase("inner", || pause(20));
        let seconds = clock.read();
        assert_eq!(seconds.len(), 2);
        assert!(
            seconds["outer"] >= 0.02 && seconds["inner"] >= 0.08,
            "{seconds:?}"
        );
        assert!(seconds["outer"] < seconds["inner"], "{seconds:?}");
        work();
        assert!(PhaseClock::start(Device::Cpu).read().is_empty());
    }
}
