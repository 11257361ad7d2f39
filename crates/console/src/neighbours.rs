//! Other processes on the same cores, and what they do to threads that wait for each other.
//!
//! libgomp's threads spin while they wait. Alone that is fastest. Where another process has the core, a thread that spins
//! keeps away the one it waits for: an update took 6 to 20 s instead of 1.6 beside two busy processes on two cores. With
//! short spins it took 4.5 s; alone they cost a quarter.

use std::{collections::BTreeSet, env, fs, thread, time::Duration};

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
    let threads = usize::try_from(get_num_threads()).unwrap_or(1);
    if is_decided || threads < 2 {
        return None;
    }
    in_words(busy_cores()?, threads, cores())
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

/// Of the cores that this process may use, those that are busy while it waits; none where it cannot be known.
fn busy_cores() -> Option<f64> {
    let own = allowed(&fs::read_to_string("/proc/self/status").ok()?)?;
    if own.len() != cores() {
        return None; // a quota of time, not cores
    }
    let read = || Ticks::read(&fs::read_to_string("/proc/stat").ok()?, &own);
    let before = read()?;
    thread::sleep(LOOK);
    let after = read()?;
    let all = after.all.saturating_sub(before.all).max(1);
    let idle = after.idle.saturating_sub(before.idle);
    Some(own.len() as f64 * (1.0 - idle as f64 / all as f64).max(0.0))
}

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Numbers of the cores that the `status` of a process allows it, such as `0-3,8`.
fn allowed(status: &str) -> Option<BTreeSet<usize>> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = BTreeSet::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<usize>().ok();
        cores.extend(number(first)?..=number(last)?);
    }
    Some(cores)
}

/// Ticks of some cores since the start.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ticks {
    all: u64,
    idle: u64,
}

impl Ticks {
    /// A line of a core: user, nice, system, idle, waiting for disks, and more.
    fn read(text: &str, cores: &BTreeSet<usize>) -> Option<Self> {
        let mut sum = Self::default();
        for line in text.lines() {
            let Some((name, ticks)) = line.split_once(' ') else {
                continue;
            };
            let core = name
                .strip_prefix("cpu")
                .and_then(|number| number.parse().ok());
            if core.is_some_and(|core| cores.contains(&core)) {
                let ticks = ticks.split_whitespace().map(str::parse);
                let ticks: Vec<u64> = ticks.collect::<Result<_, _>>().ok()?;
                sum.all += ticks.iter().take(8).sum::<u64>();
                sum.idle += ticks.get(3)? + ticks.get(4)?;
            }
        }
        (sum.all > 0).then_some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_those_of_its_cores() {
        let text = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\ncpu1 100 20 30 400 50 6 7 8 9 10\nintr 1 2\n";
        let of = |cores: &[usize]| Ticks::read(text, &cores.iter().copied().collect());
        let ticks = |all, idle| Some(Ticks { all, idle });
        assert_eq!(of(&[1]), ticks(621, 450));
        assert_eq!(of(&[0, 1]), ticks(657, 459));
        assert_eq!(of(&[7]), None);
        let status = "Name:\tdmdr\nCpus_allowed_list:\t0-2,8\n";
        assert_eq!(allowed(status), Some([0, 1, 2, 8].into()));
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
