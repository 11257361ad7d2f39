//! CLIP score by published towers: the bare cosine, about 0.2 to 0.4. Tables multiply it by 100; CLIPScore (arXiv
//! 2104.08718) is 2.5 times what is above 0, by ViT-B/32.
//!
//! Checkpoints and their preprocessing: [`ClipCheckpoint`]. Apple's DFN5B at 224 is the text alignment of DMDR's training
//! scripts (`train_t2i` of github.com/vvvvvjdy/dmdr at commit ee68d48^, withdrawn since). They run it with exact GELU; it was
//! trained with QuickGELU, as here.

use std::path::Path;

use dmdr_data::Prompts;
use dmdr_models::{ClipActivation, ClipPair, ClipPairConfig, TextTokenizer};
use dmdr_tensor::{Runtime, Tensor};

use crate::{
    RewardError, RewardModel, Settings,
    captions::{self, CaptionCosine},
    preprocess::{Fit, Preprocess},
};

/// Published towers. Preprocessing is that of open_clip for each: bicubic, CLIP's normalisation, at 224 pixels if nothing
/// else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipCheckpoint {
    /// `openai/clip-vit-base-patch32`, cropped.
    OpenAiB32,
    /// `openai/clip-vit-base-patch16`, cropped.
    OpenAiB16,
    /// `openai/clip-vit-large-patch14`, cropped.
    OpenAiL14,
    /// `laion/CLIP-ViT-B-32-laion2B-s34B-b79K`, cropped.
    LaionB32,
    /// `laion/CLIP-ViT-L-14-laion2B-s32B-b82K`, cropped, normalised to `[-1, 1]`.
    LaionL14,
    /// `laion/CLIP-ViT-H-14-laion2B-s32B-b79K`, cropped.
    LaionH14,
    /// `laion/CLIP-ViT-g-14-laion2B-s12B-b42K` and `s34B-b88K`, cropped.
    LaionG14,
    /// `apple/DFN5B-CLIP-ViT-H-14`, squashed.
    DfnH14,
    /// `apple/DFN5B-CLIP-ViT-H-14-378`, squashed to 378.
    DfnH14At378,
}

impl ClipCheckpoint {
    /// As in configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::OpenAiB32 => "openai_b32",
            Self::OpenAiB16 => "openai_b16",
            Self::OpenAiL14 => "openai_l14",
            Self::LaionB32 => "laion_b32",
            Self::LaionL14 => "laion_l14",
            Self::LaionH14 => "laion_h14",
            Self::LaionG14 => "laion_g14",
            Self::DfnH14 => "dfn_h14",
            Self::DfnH14At378 => "dfn_h14_378",
        }
    }

    /// Whether it was trained with open_clip, on captions as that cleans them.
    fn is_of_open_clip(self) -> bool {
        !matches!(self, Self::OpenAiB32 | Self::OpenAiB16 | Self::OpenAiL14)
    }

    /// Sizes of its towers. OpenAI's and Apple's have QuickGELU, LAION's exact GELU.
    pub fn config(self) -> ClipPairConfig {
        let config = match self {
            Self::OpenAiB32 | Self::LaionB32 => ClipPairConfig::base(32),
            Self::OpenAiB16 => ClipPairConfig::base(16),
            Self::OpenAiL14 | Self::LaionL14 => ClipPairConfig::l_14(),
            Self::LaionH14 => ClipPairConfig::h_14(),
            Self::LaionG14 => ClipPairConfig::g_14(),
            Self::DfnH14 => ClipPairConfig::dfn_h_14(224),
            Self::DfnH14At378 => ClipPairConfig::dfn_h_14(378),
        };
        match self {
            Self::LaionB32 | Self::LaionL14 => config.with_activation(ClipActivation::Gelu),
            _ => config,
        }
    }

    /// What is done to images for towers that read squares of side `size`.
    pub fn preprocess(self, size: i64) -> Preprocess {
        match self {
            Self::DfnH14 | Self::DfnH14At378 => Preprocess::clip(Fit::Squash, size),
            Self::LaionL14 => Preprocess::half(Fit::Crop, size),
            _ => Preprocess::clip(Fit::Crop, size),
        }
    }

    /// That `found`, the towers of `folder`, have this checkpoint's activation: the same weights with another one load
    /// and give other scores.
    ///
    /// # Errors
    /// If they have not.
    pub fn check(self, found: &ClipPairConfig, folder: &Path) -> Result<(), RewardError> {
        let expected = self.config().vision_config.hidden_act;
        let towers = [
            ("text_config.hidden_act", found.text_config.hidden_act),
            ("vision_config.hidden_act", found.vision_config.hidden_act),
        ];
        match towers.into_iter().find(|(_, found)| *found != expected) {
            None => Ok(()),
            Some((field, found)) => Err(RewardError::OtherCheckpoint {
                path: folder.join("config.json"),
                checkpoint: self.name(),
                field,
                found: found.name(),
                expected: expected.name(),
            }),
        }
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
        let preprocess = checkpoint.preprocess(pair.image().config().image_size);
        let towers = CaptionCosine::new(name, pair, tokenizer, preprocess);
        let towers = if checkpoint.is_of_open_clip() {
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
            checkpoint.check(&ClipPairConfig::of_folder(weights)?, weights)?;
        }
        let config = checkpoint.config();
        let style = checkpoint.is_of_open_clip();
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
