//! Training algorithms, one per file. A method owns its networks' roles and returns named losses; it never steps.

mod losses;

pub use losses::{Losses, Term};
