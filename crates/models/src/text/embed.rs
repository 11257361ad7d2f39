//! Tokens as rows of a table.

use dmdr_tensor::Tensor;

/// Rows of `table [V, D]` at `ids [B, L]` (i64, on any device): `[B, L, D]`.
pub(super) fn embed(table: &Tensor, ids: &Tensor) -> Tensor {
    Tensor::embedding(table, &ids.to_device(table.device()), -1, false, false)
}
