//! From what a network predicts to what a person, a reward or a judge looks at.

use dmdr_tensor::Tensor;

/// Makes images of clean predictions.
pub trait Decoder: std::fmt::Debug {
    /// `x0 [B, C, h, w]` -> images `[B, 3, H, W]` in `[0, 1]`, with gradient.
    fn decode(&self, x0: &Tensor) -> Tensor;
}

/// For networks that predict pixels in `[-1, 1]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pixels;

impl Decoder for Pixels {
    fn decode(&self, x0: &Tensor) -> Tensor {
        ((x0 + 1.0) / 2.0).clamp(0.0, 1.0)
    }
}
