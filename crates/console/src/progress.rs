//! What a person sees on stderr: progress bar, messages, errors.
#![expect(clippy::print_stderr, reason = "this file is the program's voice")]

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write as _},
    panic,
    path::Path,
    process,
    time::{Duration, Instant},
};

use dmdr_train::{Observer, Verdict};
use indicatif::{ProgressBar, ProgressStyle};

use crate::interrupt;

/// Shows a training run: a bar on a terminal, a line now and then elsewhere.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    last_line: Option<Instant>,
    /// Metrics shown beside the bar: names, in which `*` stands for anything.
    shown: &'static [&'static str],
}

impl Progress {
    /// `shown` names the metrics beside the bar.
    pub fn new(quiet: bool, shown: &'static [&'static str]) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style =
                ProgressStyle::with_template("{bar:28} {pos}/{len}  {per_sec}  eta {eta}  {msg}")
                    .expect("the template is valid");
            ProgressBar::new(0).with_style(style)
        });
        Self {
            bar,
            quiet,
            last_line: None,
            shown,
        }
    }

    fn summary(&self, values: &BTreeMap<String, f64>) -> String {
        let shown = |name: &str| self.shown.iter().any(|wanted| is_meant(name, wanted));
        values
            .iter()
            .filter(|(name, _)| shown(name))
            .map(|(name, value)| format!("{name} {value:.4}"))
            .collect::<Vec<_>>()
            .join("  ")
    }

    fn say(&self, line: &str) {
        if !self.quiet {
            self.always_say(line);
        }
    }

    fn always_say(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }
}

/// Whether a metric's `name` is one of those that `wanted` stands for.
fn is_meant(name: &str, wanted: &str) -> bool {
    match wanted.split_once('*') {
        None => name == wanted,
        Some((start, end)) => {
            let rest = name.strip_prefix(start);
            rest.is_some_and(|rest| rest.ends_with(end))
        }
    }
}

impl Observer for Progress {
    fn updated(&mut self, update: u64, total: u64, values: &BTreeMap<String, f64>) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            if bar.position() == 0 {
                bar.reset_eta();
            }
            bar.set_position(update);
            bar.set_message(self.summary(values));
            if update == total {
                bar.finish();
            }
        } else if !self.quiet {
            let due = self
                .last_line
                .is_none_or(|last| last.elapsed() > Duration::from_secs(10));
            if due || update == total {
                self.last_line = Some(Instant::now());
                let seconds = values.get("time/update_s").copied().unwrap_or(f64::NAN);
                eprintln!(
                    "{update}/{total}  {seconds:.2} s/update  {}",
                    self.summary(values)
                );
            }
        }
    }

    fn guarded(&mut self, update: u64, metric: &str, verdict: Verdict) {
        let text = match verdict {
            Verdict::Best | Verdict::Wait => return,
            Verdict::Lowered(factor) => {
                format!("weight of reinforcement learning times {factor}")
            }
            Verdict::Stop => "stopped with the best student".to_owned(),
        };
        self.say(&format!(
            "guard, after {update}: {metric} has no new best; {text}"
        ));
    }

    fn evaluated(&mut self, update: u64, values: &BTreeMap<String, f64>) {
        let wanted = ["geneval/overall", "world_clip", "preference_heldout"];
        let is_emoji = values.contains_key(wanted[0]);
        let values: Vec<String> = values
            .iter()
            .filter(|(name, _)| !is_emoji || wanted.contains(&name.as_str()))
            .map(|(name, value)| format!("{name} {value:.3}"))
            .collect();
        self.say(&format!("evaluated after {update}: {}", values.join("  ")));
    }

    fn wrote(&mut self, what: &str, path: &Path) {
        if what != "checkpoint" {
            self.say(&format!("{what}: {}", path.display()));
        }
    }

    fn warned(&mut self, text: &str) {
        self.always_say(&format!("warning: {text}"));
    }

    fn interrupted(&self) -> bool {
        interrupt::requested()
    }
}

/// Counts images while something is measured.
#[derive(Debug)]
pub struct Counter {
    bar: Option<ProgressBar>,
}

impl Counter {
    /// `what` is measured; where there is no bar, that is said once.
    pub fn new(quiet: bool, what: &str) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style =
                ProgressStyle::with_template("{bar:28} {pos}/{len} images  eta {eta}  {msg}")
                    .expect("the template is valid");
            ProgressBar::new(0)
                .with_style(style)
                .with_message(what.to_owned())
        });
        if bar.is_none() {
            say(quiet, &format!("measuring the {what}"));
        }
        Self { bar }
    }

    /// `done` of `total` images are measured.
    pub fn update(&mut self, done: usize, total: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            if done == total {
                bar.finish();
            }
        }
    }
}

/// Data, on stdout. A reader that has seen enough, such as `head`, ends the command quietly.
pub fn print_data(text: &str) {
    if let Err(error) = writeln!(io::stdout(), "{text}") {
        if error.kind() == io::ErrorKind::BrokenPipe {
            process::exit(0);
        }
        panic!("cannot write to stdout: {error}");
    }
}

/// One message.
pub fn say(quiet: bool, line: &str) {
    if !quiet {
        eprintln!("{line}");
    }
}

/// From now on a panic of libtorch for want of memory is told in words; all others are told as ever.
pub fn tell_want_of_memory() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let payload = info.payload();
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied());
        let text = text.unwrap_or_default();
        match want_of_memory(text) {
            Some(message) => eprintln!("error: {message}"),
            None => usual(info),
        }
    }));
}

/// What `text`, of a panic, says of memory.
fn want_of_memory(text: &str) -> Option<String> {
    const SIGNS: [&str; 2] = ["out of memory", "can't allocate memory"];
    let found = SIGNS.iter().find_map(|sign| text.find(sign))?;
    let start = text[..found]
        .rfind(['"', '\n', ']'])
        .map_or(0, |end| end + 1);
    // One line of libtorch's words, which a panic has quoted.
    let line = text[start..].split("\\n").next().unwrap_or_default();
    let line = line.lines().next().unwrap_or_default().trim();
    let line = line.trim_start_matches("err == 0. ");
    Some(format!(
        "out of memory: {line}; `dmdr doctor CONFIG` says what fits, and which switches help"
    ))
}

/// The chain of causes, each on its line.
pub fn print_error(error: &anyhow::Error) {
    let mut causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    // A transparent error repeats its source's text.
    causes.dedup_by(|next, previous| previous.contains(next.as_str()));
    eprintln!("error: {}", causes.join("\n  caused by: "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reward_that_a_run_has_is_shown() {
        for (name, wanted, expected) in [
            ("reward/hps/mean", "reward/*/mean", true),
            ("reward/clip_2/mean", "reward/*/mean", true),
            ("reward/hps/max", "reward/*/mean", false),
            ("loss/dm", "loss/*", true),
            ("accuracy", "accuracy", true),
            ("accuracy/mean", "accuracy", false),
        ] {
            assert_eq!(is_meant(name, wanted), expected, "{name} {wanted}");
        }
    }

    #[test]
    fn want_of_memory_is_told_in_words() {
        let cuda = "called `Result::unwrap()` on an `Err` value: Torch(\"CUDA out of memory. Tried to allocate 2.00 GiB. \
                    GPU 0 is full.\\nException raised from malloc\\nframe #0\")";
        let told = want_of_memory(cuda).expect("of memory");
        assert!(
            told.starts_with(
                "out of memory: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 is full.;"
            ),
            "{told}"
        );
        let cpu = "Torch(\"[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you \
                   tried to allocate 400 bytes.\\nframe #0\")";
        let told = want_of_memory(cpu).expect("of memory");
        assert!(
            told.contains("tried to allocate 400 bytes.; `dmdr doctor"),
            "{told}"
        );
        assert_eq!(want_of_memory("index out of range"), None);
    }
}
