//! Encoding a large prompt set: what a cache holds of a prompt does not depend on how long it is. A process of its own, since
//! the system counts the most that a process ever took.

use dmdr_models::{Conditioning, EmbeddingCache, ModelError, TextEncoder};
use dmdr_tensor::{Device, Kind, Tensor};

/// One number a prompt.
struct Small;

impl TextEncoder for Small {
    fn encode(&self, prompts: &[&str]) -> Result<Conditioning, ModelError> {
        let count = prompts.len() as i64;
        let ones = |shape: &[i64]| Tensor::ones(shape, (Kind::Float, Device::Cpu));
        Ok(Conditioning {
            tokens: ones(&[count, 1, 1]),
            pooled: ones(&[count, 1]),
        })
    }

    fn unconditional(&self) -> Result<Conditioning, ModelError> {
        self.encode(&[""])
    }
}

/// The most memory this process ever took, in bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    let kibibytes: u64 = number.expect("a figure").parse().expect("a number");
    kibibytes << 10
}

#[test]
#[cfg(target_os = "linux")]
fn texts_are_not_held() {
    const LENGTH: usize = 2000;
    const COUNT: usize = 40_000;
    let dir = tempfile::tempdir().expect("temp dir");
    let pipeline = dir.path().join("pipeline");
    std::fs::create_dir(&pipeline).expect("writable");
    let root = dir.path().join("cache");
    let open = || EmbeddingCache::open(&root, &pipeline, "small", Kind::Float).expect("opens");
    let prompts = |numbers: std::ops::Range<usize>| {
        numbers.map(|number| Ok::<_, ModelError>(format!("{number:0LENGTH$}")))
    };
    let mut cache = open();
    cache.fill(&Small, prompts(0..1000), 500).expect("fills");
    let before = peak();
    cache.fill(&Small, prompts(0..COUNT), 500).expect("fills");
    let again = open();
    let grown = peak().saturating_sub(before);
    let last = format!("{:0LENGTH$}", COUNT - 1);
    assert!(cache.contains(&last) && again.contains(&last));
    // Twice the prompts' texts would be 160 MB.
    assert!(grown < 30_000_000, "{grown} bytes");
}
