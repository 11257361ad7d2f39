//! The laboratory: the paper's tables and figures, re-run on worlds where the truth is exact.

pub mod emoji;
mod error;
pub mod markdown;
mod picture;
pub mod plane;
mod report;
mod studies;
pub mod study;
pub mod tuning;
mod units;

pub use error::LabError;
pub use report::{Effort, Picture, Report};
pub use studies::Lab;
pub use units::Units;
