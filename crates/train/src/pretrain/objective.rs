//! What a pretraining makes.

use std::{collections::BTreeMap, path::Path};

use dmdr_image::Image;
use dmdr_methods::{Losses, Method, MethodError, Update};
use dmdr_tensor::ParamStore;

use crate::TrainError;

use super::MODEL;

/// What one network, [`MODEL`], learns from data of its own.
pub trait Objective {
    /// The losses on the data of an iteration.
    ///
    /// # Errors
    /// A caption that cannot be encoded.
    fn losses(&self, iteration: u64) -> Result<Losses, TrainError>;

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

impl Method for dyn Objective {
    fn update(&mut self, update: &mut Update<'_>) -> Result<(), MethodError> {
        let iteration = update.begin();
        update.minimise(MODEL, |_, _| {
            let losses = self.losses(iteration);
            losses.map_err(|error| MethodError::Feed(error.into()))
        })
    }
}
