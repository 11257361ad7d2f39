//! ImageReward (arXiv 2304.05977): human preference, standardised over its training images; about -1 to 1.5.
//!
//! Checkpoint: `ImageReward.pt` (github.com/THUDM/ImageReward, v1.0), converted with `tools/convert_pickle.py`; tokenizer
//! of `bert-base-uncased`. Preprocessing: the shorter side to 224, then the middle, CLIP's normalisation; prompts are cut
//! to 35 tokens. As in upstream's `score`, a prompt begins with `[CLS]`, where BLIP itself would put `[ENC]`.

use std::path::Path;

use dmdr_batches::Prompts;
use dmdr_models::{BlipConfig, BlipRating, TextTokenizer};
use dmdr_tensor::{Runtime, Tensor};

use crate::{
    RewardError, RewardModel, Settings, captions,
    preprocess::{Fit, Preprocess},
};

/// Tokens a prompt is cut to.
const MAX_TOKENS: usize = 35;
/// Mean and deviation of the network's ratings, from upstream's code.
const MEAN: f64 = 0.167_173_628_300_524_26;
const DEVIATION: f64 = 1.033_339_496_605_407_2;

/// A standardised rating of an image as an answer to its caption.
#[derive(Debug)]
pub struct ImageReward {
    name: String,
    net: BlipRating,
    tokenizer: TextTokenizer,
    preprocess: Preprocess,
}

impl ImageReward {
    /// `net` and its tokenizer. `name` appears in metrics.
    pub fn new(name: &str, net: BlipRating, tokenizer: TextTokenizer) -> Self {
        Self {
            name: name.to_owned(),
            preprocess: Preprocess::clip(Fit::Crop, net.config().image_size),
            net,
            tokenizer,
        }
    }

    /// The weights in one file, and BERT's tokenizer in the folder `tokenizer`.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    pub fn load(
        name: &str,
        weights: &Path,
        tokenizer: &Path,
        runtime: Runtime,
    ) -> Result<Self, RewardError> {
        let store = runtime.store();
        let config = BlipConfig::of_weights(weights)?;
        let tokenizer = TextTokenizer::bert(tokenizer, MAX_TOKENS)?.for_table(config.vocabulary);
        let net = BlipRating::load(&store, weights, config)?;
        Ok(Self::new(name, net, tokenizer))
    }
}

impl RewardModel for ImageReward {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    fn describe(&self) -> Settings {
        let mut settings = self.preprocess.describe();
        settings.insert("text_length", MAX_TOKENS.to_string());
        settings
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        let captions = captions::of(&self.name, images, prompts)?;
        let tokens = self.tokenizer.encode(&captions)?;
        let pixels = self.preprocess.forward(images);
        let ratings = self.net.forward(&pixels, &tokens.ids, &tokens.lengths);
        Ok((ratings - MEAN) / DEVIATION)
    }
}
