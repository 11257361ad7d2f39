//! The contract between a method and the training loop, and the methods, one a file.

mod build;
mod contract;
mod dmd2;
mod dmdr;
mod lcm;

pub use build::{Parts, build};
pub use contract::Method;
pub use dmd2::Dmd2;
pub use dmdr::Dmdr;
pub use lcm::Lcm;
