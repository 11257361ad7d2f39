//! What a pretraining minimises.

use std::{collections::BTreeMap, path::Path};

use dmdr_methods::Losses;
use dmdr_tensor::ParamStore;
use dmdr_world::Image;

use crate::TrainError;

/// A network under pretraining with its data and loss.
pub trait Objective {
    /// The trained parameters.
    fn store(&self) -> &ParamStore;

    /// A second store of the same structure, for the average.
    fn twin(&self) -> ParamStore;

    /// The losses of update `step`; libtorch was reseeded for it.
    ///
    /// # Errors
    /// A caption that cannot be encoded.
    fn losses(&self, step: u64) -> Result<Losses, TrainError>;

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
