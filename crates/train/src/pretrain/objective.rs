//! What a pretraining makes.

use std::{collections::BTreeMap, path::Path};

use dmdr_image::Image;
use dmdr_methods::Method;
use dmdr_tensor::ParamStore;

use crate::TrainError;

/// A method that trains one network, [`super::MODEL`], from data of its own.
pub trait Objective: Method {
    /// The trained parameters.
    fn store(&self) -> &ParamStore;

    /// A second store of the same structure, for the average.
    fn twin(&self) -> ParamStore;

    /// A picture of what the network with these parameters does, if it makes pictures.
    ///
    /// # Errors
    /// A caption that cannot be encoded.
    fn sheet(&self, store: &ParamStore, num_prompts: usize) -> Result<Option<Image>, TrainError> {
        let _ = (store, num_prompts);
        Ok(None)
    }

    /// Writes the finished network.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save(
        &self,
        store: &ParamStore,
        path: &Path,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), TrainError>;
}
