//! Text encoders of the published pipelines and their tokenizers. How a pipeline combines them stands in its family's folder.
//!
//! The networks carry the names of transformers' classes, the rules restate the `encode_prompt` of diffusers' pipelines;
//! `tests/parity/text.rs` compares both with them. All of them are frozen: a prompt is encoded once.

mod cache;
mod clip;
mod clip_encoder;
mod fingerprint;
mod qwen3;
mod t5;
mod tokenizer;
mod transformers;

use dmdr_tensor::Tensor;

use crate::{Conditioning, ModelError};

pub use self::{
    cache::EmbeddingCache,
    clip::{ClipArchitecture, ClipFeatures, ClipText, ClipTextConfig},
    qwen3::{Qwen3, Qwen3Config, RopeParameters},
    t5::{T5Config, T5Encoder},
    tokenizer::{TextTokenizer, Tokens},
    transformers::{Transformers, load_transformers_config},
};

pub(crate) use self::{clip_encoder::ClipEncoder, transformers::TRANSFORMERS_WEIGHTS};

/// Prompts to what a backbone is conditioned on.
pub trait TextEncoder {
    /// One row for each prompt, in order; there is at least one.
    ///
    /// # Errors
    /// A prompt that a tokenizer refuses.
    fn encode(&self, prompts: &[&str]) -> Result<Conditioning, ModelError>;

    /// What the pipeline is guided away from when nothing is asked for, one row.
    ///
    /// # Errors
    /// As for [`Self::encode`].
    fn unconditional(&self) -> Result<Conditioning, ModelError>;
}

/// Rows of `table [V, D]` at `ids [B, L]` (i64, on any device): `[B, L, D]`.
fn embed(table: &Tensor, ids: &Tensor) -> Tensor {
    Tensor::embedding(table, &ids.to_device(table.device()), -1, false, false)
}
