//! Text of SDXL: CLIP-L and bigG, both before their last block, feature by feature beside each other.
//!
//! Source: `encode_prompt` of diffusers' `StableDiffusionXLPipeline` (0.42.1), with one prompt for both encoders and
//! without `clip_skip`.

use std::path::Path;

use dmdr_tensor::{Runtime, Tensor};

use super::{ClipArchitecture, ClipText, TextEncoder, TextTokenizer};
use crate::{Conditioning, ModelError};

/// Both encoders. Conditioning: tokens `[B, 77, 768 + 1280]`, pooled `[B, 1280]`, bigG's projected.
#[derive(Debug)]
pub struct SdxlText {
    l: Clip,
    g: Clip,
    forces_zeros: bool,
}

/// One of CLIP's encoders with its tokenizer.
#[derive(Debug)]
pub(super) struct Clip {
    tokenizer: TextTokenizer,
    net: ClipText,
}

impl Clip {
    /// Number `index` of a pipeline: `text_encoder`, `text_encoder_2`, .. Prompts are as long as the tokenizer says, at
    /// most as the encoder can read.
    pub(super) fn load(
        folder: &Path,
        index: usize,
        architecture: ClipArchitecture,
        runtime: Runtime,
    ) -> Result<Self, ModelError> {
        let suffix = if index == 1 {
            String::new()
        } else {
            format!("_{index}")
        };
        let weights = folder.join(format!("text_encoder{suffix}"));
        let net = ClipText::load_as(&runtime.store(), &weights, architecture)?;
        let tokenizer = folder.join(format!("tokenizer{suffix}"));
        let most = net.config().max_position_embeddings as usize;
        let length = TextTokenizer::model_max_length(&tokenizer)?.unwrap_or(most);
        let tokenizer = TextTokenizer::clip(&tokenizer, length.min(most))?;
        Ok(Self {
            tokenizer: tokenizer.for_table(net.config().vocab_size),
            net,
        })
    }

    /// Features before the last block `[B, L, D]`, and the projected pooled vector `[B, P]` if there is one.
    pub(super) fn encode(&self, prompts: &[&str]) -> Result<(Tensor, Option<Tensor>), ModelError> {
        let features = self.net.forward(&self.tokenizer.encode(prompts)?.ids);
        Ok((features.penultimate, features.projected))
    }

    /// `D` of [`Self::encode`].
    pub(super) fn width(&self) -> i64 {
        self.net.config().hidden_size
    }

    /// # Errors
    /// If the other one reads prompts of another length: their features lie beside each other.
    pub(super) fn check_length(
        &self,
        other: &Self,
        network: &'static str,
    ) -> Result<(), ModelError> {
        let (first, second) = (self.tokenizer.max_tokens(), other.tokenizer.max_tokens());
        if first == second {
            return Ok(());
        }
        Err(ModelError::Sizes {
            network,
            reason: format!(
                "`tokenizer` cuts prompts to {first} tokens, `tokenizer_2` to {second}; give both the same \
                 `model_max_length` in their `tokenizer_config.json`"
            ),
        })
    }
}

impl SdxlText {
    /// The encoders in a pipeline's folder: `text_encoder`, `text_encoder_2`, `tokenizer`, `tokenizer_2`. Guidance
    /// goes away from zeros if the pipeline `forces_zeros`
    /// ([`PipelineIndex::forces_zeros`](crate::PipelineIndex::forces_zeros)), else from the encoded empty prompt.
    ///
    /// # Errors
    /// Files that are missing or do not fit.
    pub fn load(folder: &Path, runtime: Runtime, forces_zeros: bool) -> Result<Self, ModelError> {
        let l = Clip::load(folder, 1, ClipArchitecture::Plain, runtime)?;
        let g = Clip::load(folder, 2, ClipArchitecture::WithProjection, runtime)?;
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
