//! `env.json`: what a run ran on, so that its numbers can be made again.

use std::path::Path;
use std::{env, fs, thread};

use serde::{Deserialize, Serialize};

use crate::clock::utc_now;
use crate::error::EventsError;
use crate::eval::{read_json, write_json};

/// The program, the machine and the command of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Environment {
    /// Version of `dmdr`.
    pub version: String,
    /// Commit of the program; empty if it was not built from a repository.
    pub commit: String,
    /// Whether the working tree had changes that are not in the commit.
    pub dirty: bool,
    /// Version of libtorch.
    pub torch_version: String,
    /// The device, such as `cpu` or `cuda:0 (NVIDIA H100)`.
    pub device: String,
    /// Threads of one operation.
    pub num_threads: usize,
    /// Name of the processor.
    pub cpu_model: String,
    /// The command line.
    pub command: String,
    /// Start of the run in UTC, as `2026-01-31T12:34:56Z`.
    pub started_at: String,
}

impl Environment {
    /// What can be seen from here: processor, threads, command line, time. The caller fills in the rest
    /// (`Environment { version, commit, .., ..Environment::detect() }`).
    pub fn detect() -> Self {
        Self {
            num_threads: thread::available_parallelism().map_or(1, usize::from),
            cpu_model: cpu_model(),
            command: command(),
            started_at: utc_now(),
            ..Self::default()
        }
    }

    /// One line for reports: processor, threads and device.
    pub fn machine(&self) -> String {
        let threads = if self.num_threads == 1 {
            "thread"
        } else {
            "threads"
        };
        let place = format!("{}, {} {threads}", self.cpu_model, self.num_threads);
        if self.device.is_empty() || self.device == "cpu" {
            place
        } else {
            format!("{}, {place}", self.device)
        }
    }

    /// Writes pretty JSON, atomically.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), EventsError> {
        write_json(path.as_ref(), self, "environment")
    }

    /// Reads what [`Environment::write`] wrote.
    ///
    /// # Errors
    /// The file cannot be read or is not an environment.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, EventsError> {
        read_json(path.as_ref(), "environment")
    }
}

/// From `/proc/cpuinfo` where there is one; `x86_64` and the like elsewhere.
fn cpu_model() -> String {
    fs::read_to_string("/proc/cpuinfo")
        .ok()
        .and_then(|text| model_name(&text))
        .unwrap_or_else(|| env::consts::ARCH.to_owned())
}

fn model_name(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo
        .lines()
        .find(|line| line.starts_with("model name"))?;
    let name = line.split_once(':')?.1.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// The arguments, quoted where a shell needs it; the program without its folder.
pub(crate) fn command() -> String {
    let mut arguments = env::args_os().map(|argument| argument.to_string_lossy().into_owned());
    let program = arguments.next().unwrap_or_default();
    let program = Path::new(&program)
        .file_name()
        .map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    std::iter::once(program)
        .chain(arguments)
        .map(|argument| quoted(&argument))
        .collect::<Vec<_>>()
        .join(" ")
}

fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_detection() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("env.json");
        let environment = Environment {
            version: "0.1.0".to_owned(),
            commit: "abc".to_owned(),
            device: "cpu".to_owned(),
            ..Environment::detect()
        };
        assert!(environment.num_threads >= 1);
        assert!(!environment.cpu_model.is_empty());
        assert!(!environment.command.contains('/') || environment.command.contains(' '));
        environment.write(&path).expect("written");
        assert_eq!(Environment::read(&path).expect("read"), environment);
    }

    #[test]
    fn model_name_of_cpuinfo() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nprocessor\t: 1\n";
        assert_eq!(model_name(text).as_deref(), Some("Some CPU @ 2.0GHz"));
        assert_eq!(model_name("Features : fp asimd\n"), None);
    }

    #[test]
    fn arguments_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("configs/demo.toml"), "configs/demo.toml");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
