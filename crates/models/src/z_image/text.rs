//! Text of Z-Image: what Qwen3 makes of a prompt put to it as a chat message, before its last block.
//!
//! Source: `encode_prompt` of diffusers' `ZImagePipeline` (0.42.1). Deviation: upstream runs 512 tokens and cuts the
//! padding off; here only as many tokens run as the longest prompt has, and all batches are padded with zeros to one
//! length, so that conditionings of different batches fit together.

use std::path::Path;

use dmdr_tensor::Runtime;

use super::ZImage;
use crate::{Conditioning, ModelError, Qwen3, TextEncoder, TextTokenizer, Transformers};

/// The encoder. Conditioning: tokens `[B, L, 2560]`, where Qwen3 reads `L` tokens, the chat template's with them, of which the first `pooled [B, 1]` are a prompt's; see
/// [`ZImage::condition`].
#[derive(Debug)]
pub struct ZImageText {
    tokenizer: TextTokenizer,
    net: Qwen3,
}

impl ZImageText {
    /// The encoder in a pipeline's folder: `text_encoder`, `tokenizer`. Prompts are cut and padded to `max_tokens`
    /// ([`Family::max_sequence_length`](crate::Family::max_sequence_length)): the backbone is slower the longer they are.
    ///
    /// # Errors
    /// Files that are missing or do not fit.
    pub fn load(folder: &Path, runtime: Runtime, max_tokens: usize) -> Result<Self, ModelError> {
        let tokenizer = TextTokenizer::qwen3(&folder.join("tokenizer"), max_tokens)?;
        let net = Qwen3::load(&runtime.store(), &folder.join("text_encoder"))?;
        Ok(Self {
            tokenizer: tokenizer.for_table(net.config().vocab_size),
            net,
        })
    }
}

impl TextEncoder for ZImageText {
    fn encode(&self, prompts: &[&str]) -> Result<Conditioning, ModelError> {
        let tokens = self.tokenizer.encode(prompts)?;
        let longest = tokens.lengths.max().int64_value(&[]);
        let features = self.net.penultimate(&tokens.ids.narrow(1, 0, longest));
        let padding = self.tokenizer.max_tokens() as i64 - longest;
        let lengths = tokens.lengths.to_device(features.device());
        Ok(ZImage::condition(
            features.constant_pad_nd([0, 0, 0, padding]),
            &lengths,
        ))
    }

    /// The empty prompt, encoded like any other.
    fn unconditional(&self) -> Result<Conditioning, ModelError> {
        self.encode(&[""])
    }
}
