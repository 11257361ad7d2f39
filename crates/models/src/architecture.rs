//! Networks before they are built: what is known of one once its config was read.

use std::{collections::BTreeMap, fmt, path::Path};

use dmdr_diffusion::Schedule;
use dmdr_tensor::{AdapterSpec, Kind, ParamStore, Tensor};

use crate::{Conditioning, Denoiser, ModelError};

/// A network's form, and the weights that it starts from.
pub trait Architecture: fmt::Debug {
    /// Builds it with parameters in `store` and LoRA as `adapters` say.
    ///
    /// # Errors
    /// An adapter target that matches nothing.
    fn build(
        &self,
        store: &ParamStore,
        adapters: &[AdapterSpec],
    ) -> Result<Box<dyn Denoiser>, ModelError>;

    /// Fills `store` with the teacher's weights.
    ///
    /// # Errors
    /// Weights that do not fit the network.
    fn load(&self, store: &ParamStore) -> Result<(), ModelError>;

    /// The frozen teacher, and base of adapters.
    ///
    /// # Errors
    /// As for [`Self::build`] and [`Self::load`].
    fn teacher(
        &self,
        store: &ParamStore,
        adapters: &[AdapterSpec],
    ) -> Result<Box<dyn Denoiser>, ModelError> {
        let net = self.build(store, adapters)?;
        self.load(store)?;
        Ok(net)
    }

    /// Writes `store`, a network of this form that was trained, with `notes` in the header. It can be loaded again.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn save(
        &self,
        store: &ParamStore,
        path: &Path,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), ModelError> {
        Ok(store.save(path, Kind::Float, notes)?)
    }

    /// Where an adapter goes if a config does not say: patterns on names of layers.
    fn default_targets(&self) -> &'static [&'static str];

    /// Its noise schedule.
    fn schedule(&self) -> Schedule;

    /// Whether the frozen teacher keeps its weights in the kind that they are computed in, and no others: for networks that
    /// are large.
    fn is_compact(&self) -> bool {
        false
    }
}

/// A network on captions that others encoded, in one file that describes itself.
pub trait TextConditional: Architecture {
    /// `[C, H, W]` of what it predicts.
    fn image_shape(&self) -> [i64; 3];

    /// Widths of the text tokens and of the pooled text that it reads.
    fn text_widths(&self) -> (i64, i64);
}

/// A network on classes, in one file that describes itself.
pub trait ClassConditional: Architecture {
    /// `[C, H, W]` of what it predicts.
    fn image_shape(&self) -> [i64; 3];

    /// Classes `0 .. n`; the class `n` is the empty one of guidance.
    fn num_classes(&self) -> i64;

    /// Conditioning on `classes [B]` (i64).
    fn condition(&self, classes: &Tensor) -> Conditioning;
}
