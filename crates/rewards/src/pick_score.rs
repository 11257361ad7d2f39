//! PickScore (arXiv 2305.01569): human preference as `exp(logit_scale)` times the cosine of a ViT-H/14, about 18 to 24.
//!
//! Checkpoint: `yuvalkirstain/PickScore_v1`, a folder as transformers saves it. Preprocessing is its `CLIPImageProcessor`'s:
//! the shorter side to 224, then the middle. Some code for reinforcement learning divides the score by 26.

use std::path::Path;

use dmdr_batches::Prompts;
use dmdr_models::{ClipPair, ClipPairConfig, TextTokenizer};
use dmdr_tensor::{Runtime, Tensor};

use crate::{
    RewardError, RewardModel, Settings,
    captions::{self, CaptionCosine},
    preprocess::{Fit, Preprocess},
};

/// The scaled cosine of an image with its caption, by towers trained on human choices.
#[derive(Debug)]
pub struct PickScore {
    towers: CaptionCosine,
}

impl PickScore {
    /// `pair` and its tokenizer. `name` appears in metrics.
    pub fn new(name: &str, pair: ClipPair, tokenizer: TextTokenizer) -> Self {
        let preprocess = Preprocess::clip(Fit::CropDown, pair.image().config().image_size);
        let towers = CaptionCosine::new(name, pair, tokenizer, preprocess);
        Self { towers }
    }

    /// The weights in the folder `weights`, and CLIP's tokenizer in the folder `tokenizer`.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    pub fn load(
        name: &str,
        weights: &Path,
        tokenizer: &Path,
        runtime: Runtime,
    ) -> Result<Self, RewardError> {
        let config = ClipPairConfig::h_14();
        let (pair, tokenizer) = captions::load(config, weights, tokenizer, false, runtime)?;
        Ok(Self::new(name, pair, tokenizer))
    }
}

impl RewardModel for PickScore {
    fn name(&self) -> &str {
        self.towers.name()
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    fn describe(&self) -> Settings {
        self.towers.describe()
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        Ok(self.towers.score(images, prompts)? * self.towers.temperature())
    }
}
