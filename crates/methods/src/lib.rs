//! Training algorithms: methods, their terms, reinforcement learning. A method reads like its paper. [`Update`] gives it the
//! verbs and keeps the guarantees.

mod depth;
mod division;
mod error;
mod feed;
mod losses;
mod method;
mod nets;
mod optimizer;
pub mod rl;
mod rollout;
mod share;
pub mod term;
mod update;

pub use depth::Depths;
pub use division::Division;
pub use error::MethodError;
pub use feed::{Batch, Feed, FeedError};
pub use losses::{Losses, Term};
pub use method::*;
pub use nets::{Net, Nets, Network, Teacher};
pub use rollout::{Rollout, Simulation, States, backward_simulation};
pub use share::Share;
pub use update::{NotFinished, NotFinite, Place, Update};
