//! Training algorithms: methods, their terms, reinforcement learning. A method reads like its paper. [`Update`] gives it the
//! verbs and keeps the guarantees.

mod depth;
mod error;
mod feed;
mod losses;
mod method;
mod nets;
mod optimizer;
pub mod rl;
mod rollout;
pub mod term;
mod update;

pub use depth::Depths;
pub use error::MethodError;
pub use feed::{Batch, Feed, FeedError};
pub use losses::{Losses, Term};
pub use method::*;
pub use nets::{Net, Nets, Network, Teacher};
pub use rollout::{Rollout, Simulation, backward_simulation};
pub use update::{NotFinite, Place, Update};
