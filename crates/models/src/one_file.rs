//! Networks in one file that describes itself.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use dmdr_diffusion::Schedule;
use dmdr_tensor::{AdapterSpec, Kind, ParamStore};

use crate::{Architecture, Denoiser, ModelError, Stored, load_config};

/// A flow network whose file carries its config.
pub(crate) trait OneFile: Stored + Denoiser + Sized + 'static {
    /// See [`Architecture::default_targets`].
    const TARGETS: &'static [&'static str];
    /// See [`Architecture::is_compact`].
    const IS_COMPACT: bool;

    /// See [`Architecture::build`].
    fn build(
        store: &ParamStore,
        adapters: &[AdapterSpec],
        config: Self::Config,
    ) -> Result<Self, ModelError>;
}

/// A file that holds an `N`.
pub(crate) struct FileOf<N: OneFile> {
    pub(crate) config: N::Config,
    path: PathBuf,
}

impl<N: OneFile> FileOf<N> {
    /// That in `path`.
    ///
    /// # Errors
    /// An unreadable file, or one of another network.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        Ok(Self {
            config: load_config::<N>(path)?,
            path: path.to_owned(),
        })
    }
}

impl<N: OneFile> fmt::Debug for FileOf<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in `{}`", N::FORMAT, self.path.display())
    }
}

impl<N: OneFile> Architecture for FileOf<N>
where
    N::Config: Clone,
{
    fn build(
        &self,
        store: &ParamStore,
        adapters: &[AdapterSpec],
    ) -> Result<Box<dyn Denoiser>, ModelError> {
        Ok(Box::new(N::build(store, adapters, self.config.clone())?))
    }

    fn load(&self, store: &ParamStore) -> Result<(), ModelError> {
        store.load(&self.path)?;
        Ok(())
    }

    fn save(
        &self,
        store: &ParamStore,
        path: &Path,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), ModelError> {
        <N as Stored>::save(store, &self.config, path, Kind::Float, notes)
    }

    fn default_targets(&self) -> &'static [&'static str] {
        N::TARGETS
    }

    fn schedule(&self) -> Schedule {
        Schedule::RectifiedFlow
    }

    fn is_compact(&self) -> bool {
        N::IS_COMPACT
    }
}
