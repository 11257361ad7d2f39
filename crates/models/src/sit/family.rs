//! SiT as a family: told by the header of its file.

use std::{path::Path, rc::Rc};

use dmdr_tensor::{AdapterSpec, ParamStore, Tensor};

use super::{Sit, SitConfig};
use crate::{
    ClassConditional, Conditioning, ModelError,
    one_file::{FileOf, OneFile},
};

impl Sit {
    /// That in `path`.
    ///
    /// # Errors
    /// An unreadable file, or one of another network.
    pub(crate) fn open(path: &Path) -> Result<Rc<dyn ClassConditional>, ModelError> {
        Ok(Rc::new(FileOf::<Self>::open(path)?))
    }
}

impl OneFile for Sit {
    const TARGETS: &'static [&'static str] = &Self::LORA_TARGETS;
    const IS_COMPACT: bool = true;

    fn build(
        store: &ParamStore,
        adapters: &[AdapterSpec],
        config: SitConfig,
    ) -> Result<Self, ModelError> {
        Self::new(store, adapters, config)
    }
}

impl ClassConditional for FileOf<Sit> {
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
