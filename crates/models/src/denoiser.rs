//! The contract of a diffusion backbone.

use dmdr_diffusion::Parameterization;
use dmdr_tensor::{AdapterId, Tensor};

use crate::Conditioning;

/// How a network is called. An adapter's scale is an argument, never state: one iteration uses several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// A gradient will be taken: low-rank products stay apart. Otherwise they are merged into the weight, which is
    /// cheaper as soon as a layer sees more tokens than the rank.
    pub train: bool,
    /// Active adapters and their scales; scale 0 skips the product, so it is bit-equal to the base.
    pub adapters: &'a [(AdapterId, f64)],
}

impl Call<'_> {
    /// The scale `adapter` is to be applied with, if it is active.
    pub(crate) fn scale(&self, adapter: AdapterId) -> Option<f64> {
        let (_, scale) = self.adapters.iter().find(|(id, _)| *id == adapter)?;
        (*scale != 0.0).then_some(*scale)
    }
}

/// A backbone that predicts something about the clean image.
pub trait Denoiser {
    /// Raw output for `x_t [B, C, H, W]`, `t [B]` in `[0, 1]`; same shape as `x_t`.
    fn forward(&self, x_t: &Tensor, t: &Tensor, cond: &Conditioning, call: &Call<'_>) -> Tensor;

    /// What the raw output means.
    fn parameterization(&self) -> Parameterization;
}
