//! The emoji world's backbone as a family: told by the header of its file.

use std::{path::Path, rc::Rc};

use dmdr_tensor::{AdapterSpec, ParamStore};

use super::{Dit, DitConfig};
use crate::{
    ModelError, TextConditional,
    one_file::{FileOf, OneFile},
};

impl Dit {
    /// That in `path`.
    ///
    /// # Errors
    /// An unreadable file, or one of another network.
    pub(crate) fn open(path: &Path) -> Result<Rc<dyn TextConditional>, ModelError> {
        Ok(Rc::new(FileOf::<Self>::open(path)?))
    }
}

impl OneFile for Dit {
    const TARGETS: &'static [&'static str] = &Self::LORA_TARGETS;
    const IS_COMPACT: bool = false;

    fn build(
        store: &ParamStore,
        adapters: &[AdapterSpec],
        config: DitConfig,
    ) -> Result<Self, ModelError> {
        Self::new(store, adapters, config)
    }
}

impl TextConditional for FileOf<Dit> {
    fn image_shape(&self) -> [i64; 3] {
        let side = self.config.image_size;
        [self.config.channels, side, side]
    }

    fn text_widths(&self) -> (i64, i64) {
        (self.config.context_dim, self.config.pooled_dim)
    }
}
