//! SiT as a family: told by the header of its file.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use dmdr_diffusion::Schedule;
use dmdr_tensor::{AdapterSpec, Kind, ParamStore, Tensor};

use super::{Sit, SitConfig};
use crate::{
    Architecture, ClassConditional, Conditioning, Denoiser, ModelError, Stored, load_config,
};

/// A file that holds one.
#[derive(Debug)]
struct SitFile {
    config: SitConfig,
    path: PathBuf,
}

impl Sit {
    /// That in `path`.
    ///
    /// # Errors
    /// An unreadable file, or one of another network.
    pub(crate) fn open(path: &Path) -> Result<Rc<dyn ClassConditional>, ModelError> {
        Ok(Rc::new(SitFile {
            config: load_config::<Self>(path)?,
            path: path.to_owned(),
        }))
    }
}

impl ClassConditional for SitFile {
    fn image_shape(&self) -> [i64; 3] {
        let side = self.config.input_size;
        [self.config.in_channels, side, side]
    }

    fn num_classes(&self) -> i64 {
        self.config.num_classes
    }

    fn condition(&self, classes: &Tensor) -> Conditioning {
        Sit::condition(classes)
    }
}

impl Architecture for SitFile {
    fn build(
        &self,
        store: &ParamStore,
        adapters: &[AdapterSpec],
    ) -> Result<Box<dyn Denoiser>, ModelError> {
        Ok(Box::new(Sit::new(store, adapters, self.config.clone())?))
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
        <Sit as Stored>::save(store, &self.config, path, Kind::Float, notes)
    }

    fn default_targets(&self) -> &'static [&'static str] {
        &Sit::LORA_TARGETS
    }

    fn schedule(&self) -> Schedule {
        Schedule::RectifiedFlow
    }

    fn is_compact(&self) -> bool {
        true
    }
}
