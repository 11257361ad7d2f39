//! CLIP score by published towers: the bare cosine, about 0.2 to 0.4. Tables multiply it by 100; CLIPScore (arXiv
//! 2104.08718) is 2.5 times what is above 0, by ViT-B/32.
//!
//! Checkpoints: [`ClipCheckpoint`]; preprocessing: [`clip_preprocess`]. Apple's DFN5B at 224 is the text alignment of DMDR's training
//! scripts (`train_t2i` of github.com/vvvvvjdy/dmdr at commit ee68d48^, withdrawn since). They run it with exact GELU; it was
//! trained with QuickGELU, as here.

use std::path::Path;

use dmdr_batches::Prompts;
use dmdr_config::ClipCheckpoint;
use dmdr_models::{ClipActivation, ClipPair, ClipPairConfig, TextTokenizer};
use dmdr_tensor::{Runtime, Tensor};

use crate::{
    RewardError, RewardModel, Settings,
    captions::{self, CaptionCosine},
    preprocess::{Fit, Preprocess},
};

/// Whether it was trained with open_clip, on captions as that cleans them.
fn is_of_open_clip(checkpoint: ClipCheckpoint) -> bool {
    !matches!(
        checkpoint,
        ClipCheckpoint::OpenaiB32 | ClipCheckpoint::OpenaiB16 | ClipCheckpoint::OpenaiL14
    )
}

/// Sizes of its towers. OpenAI's and Apple's have QuickGELU, LAION's exact GELU.
pub fn clip_sizes(checkpoint: ClipCheckpoint) -> ClipPairConfig {
    let config = match checkpoint {
        ClipCheckpoint::OpenaiB32 | ClipCheckpoint::LaionB32 => ClipPairConfig::base(32),
        ClipCheckpoint::OpenaiB16 => ClipPairConfig::base(16),
        ClipCheckpoint::OpenaiL14 | ClipCheckpoint::LaionL14 => ClipPairConfig::l_14(),
        ClipCheckpoint::LaionH14 => ClipPairConfig::h_14(),
        ClipCheckpoint::LaionG14 => ClipPairConfig::g_14(),
        ClipCheckpoint::DfnH14 => ClipPairConfig::dfn_h_14(224),
        ClipCheckpoint::DfnH14At378 => ClipPairConfig::dfn_h_14(378),
    };
    match checkpoint {
        ClipCheckpoint::LaionB32 | ClipCheckpoint::LaionL14 => {
            config.with_activation(ClipActivation::Gelu)
        }
        _ => config,
    }
}

/// What is done to images for towers that read squares of side `size`: as open_clip does for each, bicubic. Apple's squashes,
/// the others crop; LAION's L-14 normalises to `[-1, 1]`, the others as CLIP.
pub fn clip_preprocess(checkpoint: ClipCheckpoint, size: i64) -> Preprocess {
    match checkpoint {
        ClipCheckpoint::DfnH14 | ClipCheckpoint::DfnH14At378 => Preprocess::clip(Fit::Squash, size),
        ClipCheckpoint::LaionL14 => Preprocess::half(Fit::Crop, size),
        _ => Preprocess::clip(Fit::Crop, size),
    }
}

/// That `found`, the towers of `folder`, have this checkpoint's activation: the same weights with another one load
/// and give other scores.
///
/// # Errors
/// If they have not.
pub fn check_clip(
    checkpoint: ClipCheckpoint,
    found: &ClipPairConfig,
    folder: &Path,
) -> Result<(), RewardError> {
    let expected = clip_sizes(checkpoint).vision_config.hidden_act;
    let towers = [
        ("text_config.hidden_act", found.text_config.hidden_act),
        ("vision_config.hidden_act", found.vision_config.hidden_act),
    ];
    match towers.into_iter().find(|(_, found)| *found != expected) {
        None => Ok(()),
        Some((field, found)) => Err(RewardError::OtherCheckpoint {
            path: folder.join("config.json"),
            checkpoint: checkpoint.name(),
            field,
            found: found.name(),
            expected: expected.name(),
        }),
    }
}

/// The cosine of an image with its caption.
#[derive(Debug)]
pub struct ClipSimilarity {
    towers: CaptionCosine,
    checkpoint: ClipCheckpoint,
}

impl ClipSimilarity {
    /// `pair` and its tokenizer, with the preprocessing of `checkpoint`. `name` appears in metrics.
    pub fn new(
        name: &str,
        pair: ClipPair,
        tokenizer: TextTokenizer,
        checkpoint: ClipCheckpoint,
    ) -> Self {
        let preprocess = clip_preprocess(checkpoint, pair.image().config().image_size);
        let towers = CaptionCosine::new(name, pair, tokenizer, preprocess);
        let towers = if is_of_open_clip(checkpoint) {
            towers.of_open_clip()
        } else {
            towers
        };
        Self { towers, checkpoint }
    }

    /// `checkpoint` with its weights, a folder as transformers saves it, which states its own sizes, or one file under
    /// open_clip's names, and CLIP's tokenizer in the folder `tokenizer`.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    pub fn load(
        name: &str,
        checkpoint: ClipCheckpoint,
        weights: &Path,
        tokenizer: &Path,
        runtime: Runtime,
    ) -> Result<Self, RewardError> {
        if weights.is_dir() {
            check_clip(checkpoint, &ClipPairConfig::of_folder(weights)?, weights)?;
        }
        let config = clip_sizes(checkpoint);
        let style = is_of_open_clip(checkpoint);
        let (pair, tokenizer) = captions::load(config, weights, tokenizer, style, runtime)?;
        Ok(Self::new(name, pair, tokenizer, checkpoint))
    }
}

impl RewardModel for ClipSimilarity {
    fn name(&self) -> &str {
        self.towers.name()
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    fn describe(&self) -> Settings {
        let mut settings = self.towers.describe();
        settings.insert("checkpoint", self.checkpoint.name().to_owned());
        settings
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        self.towers.score(images, prompts)
    }
}
