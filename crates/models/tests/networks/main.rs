//! What is asked of every diffusion network: outputs of its blocks, and derivatives along a direction.

mod derivatives;
mod family;
mod features;
