//! Text encoders of the published pipelines and their tokenizers. How a pipeline combines them stands in its family's folder.
//!
//! The networks carry the names of transformers' classes, the rules restate the `encode_prompt` of diffusers' pipelines;
//! `tests/parity/text.rs` compares both with them. All of them are frozen: a prompt is encoded once.

mod cache;
mod clip;
mod clip_encoder;
mod embed;
mod encoder;
mod fingerprint;
mod folder;
mod qwen3;
mod t5;
mod tokenizer;
mod transformers;

pub use self::{
    cache::EmbeddingCache,
    clip::{ClipArchitecture, ClipFeatures, ClipText, ClipTextConfig},
    encoder::TextEncoder,
    qwen3::{Qwen3, Qwen3Config, RopeParameters},
    t5::{T5Config, T5Encoder},
    tokenizer::{TextTokenizer, Tokens},
    transformers::{Transformers, load_transformers_config},
};

pub(crate) use self::{
    clip::CLIP_TOKENS, clip_encoder::ClipEncoder, transformers::TRANSFORMERS_WEIGHTS,
};
