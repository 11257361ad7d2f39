//! What is asked of every diffusion network: outputs of its blocks.

mod family;
mod features;
