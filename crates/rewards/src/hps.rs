//! HPSv2 and HPSv2.1 (arXiv 2306.09341): human preference as the bare cosine of an open_clip ViT-H/14, about 0.25 to
//! 0.33. Tables multiply it by 100.
//!
//! Checkpoints: `HPS_v2_compressed.pt` and `HPS_v2.1_compressed.pt` of github.com/tgxs002/HPSv2, converted with
//! `tools/convert_pickle.py`; both are the same network, and their scores are not comparable. Preprocessing as upstream's
//! `ResizeMaxSize`: the longer side to 224, black around the rest. Upstream computes in f16.

use std::path::Path;

use dmdr_batches::Prompts;
use dmdr_models::{ClipPair, ClipPairConfig, TextTokenizer};
use dmdr_tensor::{Runtime, Tensor};

use crate::{
    RewardError, RewardModel, Settings,
    captions::{self, CaptionCosine},
    preprocess::{Fit, Preprocess},
};

/// The cosine of an image with its caption, by towers trained on human choices.
#[derive(Debug)]
pub struct Hps {
    towers: CaptionCosine,
}

impl Hps {
    /// `pair` and its tokenizer. `name` appears in metrics and says which version it is.
    pub fn new(name: &str, pair: ClipPair, tokenizer: TextTokenizer) -> Self {
        let preprocess = Preprocess::clip(Fit::Pad, pair.image().config().image_size);
        let towers = CaptionCosine::new(name, pair, tokenizer, preprocess).of_open_clip();
        Self { towers }
    }

    /// The weights in one file under open_clip's names or a folder as transformers saves it, and CLIP's tokenizer in the folder `tokenizer`.
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
        let (pair, tokenizer) = captions::load(config, weights, tokenizer, true, runtime)?;
        Ok(Self::new(name, pair, tokenizer))
    }
}

impl RewardModel for Hps {
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
        self.towers.score(images, prompts)
    }
}
