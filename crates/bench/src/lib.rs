//! Official benchmarks and what they need around them, without libtorch: formats, rules and scores of [`geneval`] and
//! [`dpg`], and [`prompts`] of any number.
//!
//! Networks stay outside: a detector or a language model answers, and this crate asks, reads and counts. Every rule
//! has an independent statement in `tools/peer`, and equal verdicts on thousands of random cases.

pub mod dpg;
mod file;
pub mod geneval;
pub mod prompts;

pub use file::FileError;
