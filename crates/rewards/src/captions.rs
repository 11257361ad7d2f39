//! The cosine of an image with its caption in the space of published towers: what CLIP score, HPSv2 and PickScore share.

use std::path::Path;

use dmdr_batches::Prompts;
use dmdr_models::{ClipPair, ClipPairConfig, TextTokenizer};
use dmdr_tensor::{Kind, Runtime, Tensor, no_grad_guard};

use crate::{RewardError, Settings, clean::open_clip_text, preprocess::Preprocess};

/// Towers, what they read and how.
#[derive(Debug)]
pub(crate) struct CaptionCosine {
    name: String,
    pair: ClipPair,
    tokenizer: TextTokenizer,
    preprocess: Preprocess,
    /// Whether captions are cleaned as open_clip does.
    cleans: bool,
}

impl CaptionCosine {
    /// `preprocess` makes of images what the towers read; `name` is for metrics and messages.
    pub(crate) fn new(
        name: &str,
        pair: ClipPair,
        tokenizer: TextTokenizer,
        preprocess: Preprocess,
    ) -> Self {
        Self {
            name: name.to_owned(),
            preprocess,
            pair,
            tokenizer,
            cleans: false,
        }
    }

    /// Of towers that were trained with open_clip, which cleans captions first ([`open_clip_text`]).
    #[must_use]
    pub(crate) fn of_open_clip(self) -> Self {
        let cleans = true;
        Self { cleans, ..self }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// [`crate::RewardModel::describe`].
    pub(crate) fn describe(&self) -> Settings {
        let mut settings = self.preprocess.describe();
        settings.insert("text_length", self.tokenizer.max_tokens().to_string());
        if self.cleans {
            settings.insert("captions", "cleaned as by open_clip".to_owned());
        }
        settings
    }

    /// `images [B, 3, H, W]` in `[0, 1]` with their captions -> cosines `[B]`, f32, with a gradient for the images.
    pub(crate) fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        let captions = of(&self.name, images, prompts)?;
        let texts = {
            let _guard = no_grad_guard();
            let ids = if self.cleans {
                let cleaned: Vec<String> = captions.into_iter().map(open_clip_text).collect();
                let cleaned: Vec<&str> = cleaned.iter().map(String::as_str).collect();
                self.tokenizer.encode(&cleaned)?.ids
            } else {
                self.tokenizer.encode(&captions)?.ids
            };
            self.pair.embed_text(&ids)
        };
        let images = self.pair.embed_image(&self.preprocess.forward(images));
        Ok((images * texts).sum_dim_intlist(&[1i64][..], false, Kind::Float))
    }

    /// What the towers were trained to multiply a cosine by, scalar.
    pub(crate) fn temperature(&self) -> Tensor {
        self.pair.temperature()
    }
}

/// Towers with the weights at `weights` ([`ClipPair::load`]), of the sizes a folder states and of `published` ones in a file,
/// and CLIP's tokenizer in the folder `tokenizer`, or open_clip's with that vocabulary.
pub(crate) fn load(
    published: ClipPairConfig,
    weights: &Path,
    tokenizer: &Path,
    is_of_open_clip: bool,
    runtime: Runtime,
) -> Result<(ClipPair, TextTokenizer), RewardError> {
    let config = if weights.is_dir() {
        ClipPairConfig::of_folder(weights)?
    } else {
        published
    };
    let store = runtime.store();
    let max_tokens = config.text_config.max_position_embeddings as usize;
    let tokenizer = if is_of_open_clip {
        TextTokenizer::open_clip(tokenizer, max_tokens)?
    } else {
        TextTokenizer::clip(tokenizer, max_tokens)?
    };
    let tokenizer = tokenizer.for_table(config.text_config.vocab_size);
    Ok((ClipPair::load(&store, weights, config)?, tokenizer))
}

/// The captions of `images [B, ..]`, for the reward `name`.
pub(crate) fn of<'a>(
    name: &str,
    images: &Tensor,
    prompts: &'a Prompts,
) -> Result<Vec<&'a str>, RewardError> {
    let (found, expected) = (prompts.len(), images.size()[0]);
    if found as i64 != expected {
        return Err(RewardError::Captions {
            name: name.to_owned(),
            expected,
            found,
        });
    }
    Ok(prompts.captions.iter().map(String::as_str).collect())
}
