//! The number format of large matrix products.

use serde::{Deserialize, Serialize};

/// What large matrix products are computed in; weights, norms, losses and times are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// bf16 where the hardware multiplies it natively, f32 elsewhere.
    #[default]
    Auto,
    /// Single precision.
    F32,
    /// Half of it, with the range of f32.
    Bf16,
}
