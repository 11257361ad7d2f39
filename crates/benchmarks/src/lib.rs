//! Official benchmarks in their formats, without libtorch: rules and scores of [`geneval`] and [`dpg`].
//!
//! Networks stay outside: a detector or a language model answers, and this crate reads and counts. The rules of both
//! benchmarks have a second, independent statement in `tools/peer`.

pub mod dpg;
pub mod geneval;
