//! LAION's aesthetic predictor V2: how people would rate an image from 1 to 10, whatever its caption; about 5 to 6.5.
//!
//! Checkpoints: `openai/clip-vit-large-patch14`, a folder as transformers saves it, of which the image tower is read, and
//! `sac+logos+ava1-l14-linearMSE.pth` (github.com/christophschuhmann/improved-aesthetic-predictor), converted with
//! `tools/convert_pickle.py`. Preprocessing is OpenAI's: the shorter side to 224, then the middle.

use std::path::Path;

use dmdr_batches::Prompts;
use dmdr_models::{ClipPairConfig, ClipVision, RatingHead};
use dmdr_tensor::{ParamStore, Runtime, Scope, Tensor};

use crate::{
    RewardError, RewardModel, Settings,
    preprocess::{Fit, Preprocess},
};

/// A rating of an image.
#[derive(Debug)]
pub struct Aesthetic {
    name: String,
    tower: ClipVision,
    head: RatingHead,
    preprocess: Preprocess,
}

impl Aesthetic {
    /// `name` appears in metrics.
    pub fn new(name: &str, tower: ClipVision, head: RatingHead) -> Self {
        Self {
            name: name.to_owned(),
            preprocess: Preprocess::clip(Fit::Crop, tower.config().image_size),
            tower,
            head,
        }
    }

    /// The pair of towers in the folder `tower`, and the head in the file `head`.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    pub fn load(
        name: &str,
        tower: &Path,
        head: &Path,
        runtime: Runtime,
    ) -> Result<Self, RewardError> {
        let config = ClipPairConfig::of_folder(tower)?.vision_config;
        let store = runtime.store();
        let head_store = ParamStore::frozen(runtime.device);
        let net = RatingHead::new(&Scope::root(&head_store, &[]), config.projection_dim);
        head_store.load(head)?;
        Ok(Self::new(
            name,
            ClipVision::load(&store, tower, config)?,
            net,
        ))
    }
}

impl RewardModel for Aesthetic {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    fn describe(&self) -> Settings {
        self.preprocess.describe()
    }

    fn score(&self, images: &Tensor, _prompts: &Prompts) -> Result<Tensor, RewardError> {
        let embeddings = self.tower.embed(&self.preprocess.forward(images));
        Ok(self.head.forward(&embeddings))
    }
}
