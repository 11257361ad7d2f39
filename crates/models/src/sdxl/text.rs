//! Text of SDXL: CLIP-L and bigG, both before their last block, feature by feature beside each other.
//!
//! Source: `encode_prompt` of diffusers' `StableDiffusionXLPipeline` (0.42.1), with one prompt for both encoders and
//! without `clip_skip`.

use std::path::Path;

use dmdr_tensor::{Runtime, Tensor};

use crate::{ClipArchitecture, Conditioning, ModelError, TextEncoder, text::ClipEncoder};

/// Both encoders. Conditioning: tokens `[B, 77, 768 + 1280]`, pooled `[B, 1280]`, bigG's projected.
#[derive(Debug)]
pub struct SdxlText {
    l: ClipEncoder,
    g: ClipEncoder,
    forces_zeros: bool,
}

impl SdxlText {
    /// The encoders in a pipeline's folder: `text_encoder`, `text_encoder_2`, `tokenizer`, `tokenizer_2`. Guidance
    /// goes away from zeros if the pipeline `forces_zeros` (`force_zeros_for_empty_prompt`), else from the encoded empty
    /// prompt.
    ///
    /// # Errors
    /// Files that are missing or do not fit.
    pub fn load(folder: &Path, runtime: Runtime, forces_zeros: bool) -> Result<Self, ModelError> {
        let l = ClipEncoder::load(folder, 1, ClipArchitecture::Plain, runtime)?;
        let g = ClipEncoder::load(folder, 2, ClipArchitecture::WithProjection, runtime)?;
        l.check_length(&g, "SDXL's text encoders")?;
        Ok(Self { l, g, forces_zeros })
    }
}

impl TextEncoder for SdxlText {
    fn encode(&self, prompts: &[&str]) -> Result<Conditioning, ModelError> {
        let (l, _) = self.l.encode(prompts)?;
        let (g, pooled) = self.g.encode(prompts)?;
        Ok(Conditioning {
            tokens: Tensor::cat(&[l, g], 2),
            pooled: pooled.expect("it has a projection"),
        })
    }

    /// What the pipeline has where no negative prompt is given: zeros, or without `force_zeros_for_empty_prompt` the
    /// empty prompt, encoded like any other.
    fn unconditional(&self) -> Result<Conditioning, ModelError> {
        let encoded = self.encode(&[""])?;
        if !self.forces_zeros {
            return Ok(encoded);
        }
        Ok(Conditioning {
            tokens: encoded.tokens.zeros_like(),
            pooled: encoded.pooled.zeros_like(),
        })
    }
}
