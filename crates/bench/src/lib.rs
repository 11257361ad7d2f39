//! Official benchmarks and what they need around them, without libtorch: formats, rules and scores of [`geneval`] and
//! [`dpg`], judges that run elsewhere ([`judge`]), and [`prompts`] of any number.
//!
//! Networks stay outside: a detector or a language model answers, and this crate asks, reads and counts. The
//! rules of both benchmarks have a second, independent statement in `tools/peer`.

pub mod dpg;
mod error;
mod file;
pub mod geneval;
pub mod judge;
pub mod prompts;
mod text;

pub use error::FileError;
