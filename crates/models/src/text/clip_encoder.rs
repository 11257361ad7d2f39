//! A CLIP of a pipeline that conditions a backbone, from prompts to features.

use std::path::Path;

use dmdr_tensor::{Runtime, Tensor};

use super::{ClipArchitecture, ClipText, TextTokenizer};
use crate::ModelError;

/// One of CLIP's encoders with its tokenizer.
#[derive(Debug)]
pub(crate) struct ClipEncoder {
    tokenizer: TextTokenizer,
    net: ClipText,
}

impl ClipEncoder {
    /// Number `index` of a pipeline: `text_encoder`, `text_encoder_2`, .. Prompts are as long as the tokenizer says, at
    /// most as the encoder can read.
    pub(crate) fn load(
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
    pub(crate) fn encode(&self, prompts: &[&str]) -> Result<(Tensor, Option<Tensor>), ModelError> {
        let features = self.net.forward(&self.tokenizer.encode(prompts)?.ids);
        Ok((features.penultimate, features.projected))
    }

    /// `D` of [`Self::encode`].
    pub(crate) fn width(&self) -> i64 {
        self.net.config().hidden_size
    }

    /// # Errors
    /// If the other one reads prompts of another length: their features lie beside each other.
    pub(crate) fn check_length(
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
