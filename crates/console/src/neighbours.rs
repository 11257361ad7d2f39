//! Other processes on the same cores, and what they do to threads that wait for each other.
//!
//! libgomp's threads spin while they wait. Alone that is fastest. Where another process has the core, a thread that spins
//! keeps away the one it waits for: an update took 6 to 20 s instead of 1.6 beside two busy processes on two cores. With
//! short spins it took 4.5 s; alone they cost a quarter.

use std::{env, thread, time::Duration};

use dmdr_tensor::get_num_threads;

use crate::progress::say;

/// How long it is looked at others.
const LOOK: Duration = Duration::from_millis(200);
/// So much of a core more than there is, and threads get in each other's way.
const CROWDED: f64 = 0.5;
/// Settings of libgomp that say how long threads spin.
const POLICIES: [&str; 2] = ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT"];
const SPINS: &str = "1000";

/// What others do to this process, if they do and nobody has decided how long threads spin.
pub fn complaint() -> Option<String> {
    let is_decided = POLICIES.iter().any(|name| env::var_os(name).is_some());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = usize::try_from(get_num_threads()).unwrap_or(1);
    if is_decided || threads < 2 {
        return None;
    }
    in_words(busy_cores()?, threads, cores)
}

fn in_words(busy: f64, threads: usize, cores: usize) -> Option<String> {
    (busy + threads as f64 > cores as f64 + CROWDED).then(|| {
        format!(
            "other processes keep {busy:.1} of {cores} cores busy, beside {threads} threads of this one"
        )
    })
}

/// Where others crowd the cores, starts this program anew with short spins. Numbers do not change.
pub fn make_way(quiet: bool) {
    let Some(complaint) = complaint() else {
        return;
    };
    say(
        quiet,
        &format!("{complaint}: threads that wait give way (GOMP_SPINCOUNT={SPINS})"),
    );
    #[cfg(unix)]
    if let Ok(program) = env::current_exe() {
        use std::os::unix::process::CommandExt;
        // libgomp has read its settings by now. If it fails, the run is slow.
        let _ = std::process::Command::new(program)
            .args(env::args_os().skip(1))
            .env("GOMP_SPINCOUNT", SPINS)
            .exec();
    }
}

/// Cores that are busy while this process waits; none where it cannot be known.
fn busy_cores() -> Option<f64> {
    let before = Ticks::now()?;
    thread::sleep(LOOK);
    let after = Ticks::now()?;
    let all = after.all.saturating_sub(before.all).max(1);
    let idle = after.idle.saturating_sub(before.idle);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Some(cores as f64 * (1.0 - idle as f64 / all as f64).max(0.0))
}

/// Ticks of all cores since the start.
struct Ticks {
    all: u64,
    idle: u64,
}

impl Ticks {
    fn now() -> Option<Self> {
        Self::read(&std::fs::read_to_string("/proc/stat").ok()?)
    }

    /// The first line: user, nice, system, idle, waiting for disks, and more.
    fn read(text: &str) -> Option<Self> {
        let line = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks = line.split_whitespace().map(str::parse);
        let ticks: Vec<u64> = ticks.collect::<Result<_, _>>().ok()?;
        Some(Self {
            all: ticks.iter().take(8).sum(),
            idle: ticks.get(3)? + ticks.get(4)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_those_of_all_cores() {
        let text = "cpu  100 20 30 400 50 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let ticks = Ticks::read(text).expect("a first line");
        assert_eq!((ticks.all, ticks.idle), (621, 450));
        assert!(Ticks::read("intr 1 2\n").is_none());
    }

    #[test]
    fn only_a_crowd_is_complained_of() {
        assert_eq!(in_words(0.3, 2, 2), None);
        assert_eq!(in_words(1.9, 1, 4), None);
        let told = in_words(1.9, 2, 2).expect("a crowd");
        assert_eq!(
            told,
            "other processes keep 1.9 of 2 cores busy, beside 2 threads of this one"
        );
    }
}
