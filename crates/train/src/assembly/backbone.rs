//! The diffusion network of a run, as its source of prompts opened it.

use std::{collections::BTreeMap, path::Path, rc::Rc};

use dmdr_models::Architecture;
use dmdr_tensor::ParamStore;

use crate::TrainError;

/// Which network, from where, and the shape of what it predicts.
#[derive(Debug)]
pub struct Backbone {
    architecture: Rc<dyn Architecture>,
    shape: [i64; 3],
}

impl Backbone {
    /// A network that predicts images or latents of `shape`: `[C, H, W]`.
    pub fn new(architecture: Rc<dyn Architecture>, shape: [i64; 3]) -> Self {
        Self {
            architecture,
            shape,
        }
    }

    /// Its form and weights.
    pub fn architecture(&self) -> &dyn Architecture {
        &*self.architecture
    }

    /// Writes a fully trained student, so that it describes itself.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(
        &self,
        store: &ParamStore,
        path: &Path,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        Ok(self.architecture.save(store, path, notes)?)
    }

    /// `[C, H, W]` of what it predicts.
    pub fn image_shape(&self) -> [i64; 3] {
        self.shape
    }
}
