//! What the programs of this repository share: progress and errors on stderr, signals, and the machine in words.

pub mod environment;
pub mod interrupt;
pub mod neighbours;
pub mod progress;
