//! The emoji world's backbone as a family: told by the header of its file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use dmdr_diffusion::Schedule;
use dmdr_tensor::{AdapterSpec, Kind, ParamStore};

use super::{Dit, DitConfig};
use crate::{Architecture, Denoiser, ModelError, Stored, TextConditional, load_config};

/// A file that holds one.
#[derive(Debug)]
struct DitFile {
    config: DitConfig,
    path: PathBuf,
}

impl Dit {
    /// That in `path`.
    ///
    /// # Errors
    /// An unreadable file, or one of another network.
    pub(crate) fn open(path: &Path) -> Result<Rc<dyn TextConditional>, ModelError> {
        Ok(Rc::new(DitFile {
            config: load_config::<Self>(path)?,
            path: path.to_owned(),
        }))
    }
}

impl TextConditional for DitFile {
    fn image_shape(&self) -> [i64; 3] {
        let side = self.config.image_size;
        [self.config.channels, side, side]
    }

    fn text_widths(&self) -> (i64, i64) {
        (self.config.context_dim, self.config.pooled_dim)
    }
}

impl Architecture for DitFile {
    fn build(
        &self,
        store: &ParamStore,
        adapters: &[AdapterSpec],
    ) -> Result<Box<dyn Denoiser>, ModelError> {
        Ok(Box::new(Dit::new(store, adapters, self.config.clone())?))
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
        <Dit as Stored>::save(store, &self.config, path, Kind::Float, notes)
    }

    fn default_targets(&self) -> &'static [&'static str] {
        &Dit::LORA_TARGETS
    }

    fn schedule(&self) -> Schedule {
        Schedule::RectifiedFlow
    }
}
