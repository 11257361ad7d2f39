//! Text of Z-Image: what Qwen3 makes of a prompt put to it as a chat message, before its last block.
//!
//! Source: `encode_prompt` of diffusers' `ZImagePipeline` (0.42.1). Deviation: upstream runs 512 tokens and cuts the
//! padding off. We run as many as the longest prompt has. Then all batches are padded with zeros to one length, so that
//! conditionings of different batches fit together.

use std::path::Path;

use dmdr_tensor::{Kind, Runtime, Tensor};

use crate::{Conditioning, ModelError, Qwen3, TextEncoder, TextTokenizer, Transformers};

/// The encoder. Tokens are `[B, L, 2560]`, the chat template's with them. `pooled [B, 1]` counts the tokens of each prompt;
/// see [`Self::condition`].
#[derive(Debug)]
pub struct ZImageText {
    tokenizer: TextTokenizer,
    net: Qwen3,
}

impl ZImageText {
    /// Conditioning on captions of `lengths [B]` tokens (i64, at least 1) with features `tokens [B, L, D]`, of which
    /// those behind a caption's end are not read.
    pub fn condition(tokens: Tensor, lengths: &Tensor) -> Conditioning {
        Conditioning {
            tokens,
            pooled: lengths.to_kind(Kind::Float).unsqueeze(1),
        }
    }

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
        Ok(Self::condition(
            features.constant_pad_nd([0, 0, 0, padding]),
            &lengths,
        ))
    }

    /// The empty prompt, encoded like any other.
    fn unconditional(&self) -> Result<Conditioning, ModelError> {
        self.encode(&[""])
    }
}
