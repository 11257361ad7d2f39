//! CLIP score by published towers: the bare cosine, about 0.2 to 0.4. Tables multiply it by 100; CLIPScore (arXiv
//! 2104.08718) is 2.5 times what is above 0, by ViT-B/32.
//!
//! Checkpoints and their preprocessing: [`ClipCheckpoint`]. Apple's DFN5B at 224 is the text alignment of DMDR's published
//! training scripts (`train_t2i`), which run it with exact GELU; it was trained with QuickGELU, as here.

use std::path::Path;

use dmdr_data::Prompts;
use dmdr_models::{ClipPair, ClipPairConfig, Placement, TextTokenizer};
use dmdr_tensor::Tensor;

use crate::{
    RewardError, RewardModel,
    captions::{self, CaptionCosine},
    preprocess::Fit,
};

/// Published towers. Preprocessing is that of open_clip for each: bicubic, CLIP's normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClipCheckpoint {
    /// `openai/clip-vit-large-patch14`, cropped to 224.
    OpenAiL14,
    /// `laion/CLIP-ViT-H-14-laion2B-s32B-b79K`, cropped to 224.
    LaionH14,
    /// `apple/DFN5B-CLIP-ViT-H-14`, squashed to 224.
    DfnH14,
    /// `apple/DFN5B-CLIP-ViT-H-14-378`, squashed to 378.
    DfnH14At378,
}

impl ClipCheckpoint {
    fn config(self) -> ClipPairConfig {
        match self {
            Self::OpenAiL14 => ClipPairConfig::l_14(),
            Self::LaionH14 => ClipPairConfig::h_14(),
            Self::DfnH14 => ClipPairConfig::dfn_h_14(224),
            Self::DfnH14At378 => ClipPairConfig::dfn_h_14(378),
        }
    }

    fn fit(self) -> Fit {
        match self {
            Self::OpenAiL14 | Self::LaionH14 => Fit::Crop,
            Self::DfnH14 | Self::DfnH14At378 => Fit::Squash,
        }
    }
}

/// The cosine of an image with its caption.
#[derive(Debug)]
pub struct ClipSimilarity {
    towers: CaptionCosine,
}

impl ClipSimilarity {
    /// `pair` and its tokenizer; images become squares by `fit`. `name` appears in metrics.
    pub fn new(name: &str, pair: ClipPair, tokenizer: TextTokenizer, fit: Fit) -> Self {
        let towers = CaptionCosine::new(name, pair, tokenizer, fit);
        Self { towers }
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
        placement: Placement,
    ) -> Result<Self, RewardError> {
        let (pair, tokenizer) = captions::load(checkpoint.config(), weights, tokenizer, placement)?;
        Ok(Self::new(name, pair, tokenizer, checkpoint.fit()))
    }
}

impl RewardModel for ClipSimilarity {
    fn name(&self) -> &str {
        self.towers.name()
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        self.towers.score(images, prompts)
    }
}
