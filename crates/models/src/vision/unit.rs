//! Features of unit length.

use dmdr_tensor::{Kind, Tensor};

/// `x [B, E]`, each row over its length.
pub(super) fn unit(x: &Tensor) -> Tensor {
    let squares = x.square();
    let length = squares
        .sum_dim_intlist(&[-1i64][..], true, Kind::Float)
        .sqrt();
    x / length.clamp_min(1e-12)
}
