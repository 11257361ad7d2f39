//! Reading folders, with errors that say where.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::ModelError;

/// What is in `folder`, sorted.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let entries = fs::read_dir(folder).map_err(at(folder))?;
    let paths: Result<Vec<PathBuf>, io::Error> = entries.map(|entry| Ok(entry?.path())).collect();
    let mut paths = paths.map_err(at(folder))?;
    paths.sort();
    Ok(paths)
}

pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> ModelError {
    let path = path.to_owned();
    |source| ModelError::Read { path, source }
}
