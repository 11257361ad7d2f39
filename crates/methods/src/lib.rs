//! Training algorithms, one per file. A method owns its networks' roles and returns named losses; it never steps.

mod depth;
mod dmdr;
mod losses;
mod method;
pub mod rl;
mod rl_only;
mod roles;
mod rollout;

pub use depth::Depths;
pub use dmdr::Dmdr;
pub use losses::{Losses, Term};
pub use method::{Method, MethodError, StepInfo};
pub use rl_only::{RlOnly, TrueImages};
pub use roles::{FakeScore, Generator, Roles};
pub use rollout::{Rollout, backward_simulation};
