//! [`Header`]: what a weight file says about a tensor.

use std::path::PathBuf;

use tch::Kind;

/// What a file says about one of its tensors.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) shape: Vec<i64>,
    pub(crate) kind: Kind,
    pub(crate) file: PathBuf,
}
