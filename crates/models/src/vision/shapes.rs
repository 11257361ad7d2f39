//! Shapes of what a weight file holds.

use std::{collections::BTreeMap, path::Path};

use dmdr_tensor::read_tensors_where;

use crate::ModelError;

/// Shapes of the tensors in the file `path` whose names `is_read` accepts.
pub(super) fn shapes_where(
    path: &Path,
    is_read: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<i64>>, ModelError> {
    let tensors = read_tensors_where(path, is_read)?.into_iter();
    Ok(tensors
        .map(|(name, tensor)| (name, tensor.size()))
        .collect())
}
