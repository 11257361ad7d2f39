//! Prompts and scenes as tensors, in an order that is a pure function of (seed, iteration).

pub mod augment;
mod kinds;
mod prompts;
mod scenes;
mod stream;

pub use kinds::KindSampler;
pub use prompts::{BatchError, EmojiPrompts, Prompts};
pub use scenes::{SceneBatch, images_from_tensor, images_to_tensor};
pub use stream::PromptStream;
