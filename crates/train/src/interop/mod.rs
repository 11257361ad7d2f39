//! Weights as other programs write and read them.

pub(crate) mod export;
pub(crate) mod fused;
pub(crate) mod import;
pub(crate) mod lora_file;
