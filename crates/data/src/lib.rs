//! Prompts and scenes as tensors, in an order that is a pure function of (seed, step).

mod prompts;
mod scenes;

pub use prompts::{DataError, Prompts};
pub use scenes::{SceneBatch, images_from_tensor, images_to_tensor};
