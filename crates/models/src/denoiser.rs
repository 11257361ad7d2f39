//! The contract of a diffusion backbone.

use dmdr_diffusion::Parameterization;
use dmdr_tensor::{AdapterId, Tensor};

use crate::{Conditioning, Taps};

/// How a network is called. An adapter's scale is an argument, never state: one iteration uses several.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// A gradient will be taken: low-rank products stay apart. Otherwise they are merged into the weight, which is
    /// cheaper as soon as a layer sees more tokens than the rank.
    pub train: bool,
    /// Active adapters and their scales; scale 0 skips the product, so it is bit-equal to the base.
    pub adapters: &'a [(AdapterId, f64)],
    /// Where outputs of blocks are kept, if they are asked for; they change nothing else.
    pub taps: Option<&'a Taps>,
}

impl Call<'_> {
    /// The scale `adapter` is to be applied with, if it is active.
    pub(crate) fn scale(&self, adapter: AdapterId) -> Option<f64> {
        let (_, scale) = self.adapters.iter().find(|(id, _)| *id == adapter)?;
        (*scale != 0.0).then_some(*scale)
    }

    /// Tells the taps, if there are any, that a block made `output`.
    pub(crate) fn record(&self, output: &Tensor) {
        if let Some(taps) = self.taps {
            taps.record(output);
        }
    }

    /// Tells the taps, if there are any, that of the sequences from here on only the first `num_image` tokens are the image's.
    pub(crate) fn keep_image(&self, num_image: i64) {
        if let Some(taps) = self.taps {
            taps.keep_image(num_image);
        }
    }

    /// The same call without taps: for parts of a network that are no blocks of their own.
    pub(crate) fn untapped(&self) -> Self {
        Self {
            taps: None,
            ..*self
        }
    }
}

/// A backbone that predicts something about the clean image.
pub trait Denoiser {
    /// Raw output for `x_t [B, C, H, W]`, `t [B]` in `[0, 1]`; same shape as `x_t`.
    fn forward(&self, x_t: &Tensor, t: &Tensor, cond: &Conditioning, call: &Call<'_>) -> Tensor;

    /// What the raw output means.
    fn parameterization(&self) -> Parameterization;

    /// Width of each block's output in [`Self::features`], in the order in which they run: `D` of tokens, `C` of feature maps.
    /// Empty for what has no blocks, such as an exact posterior.
    fn feature_widths(&self) -> Vec<i64> {
        Vec::new()
    }

    /// How many blocks there are to tap.
    fn num_blocks(&self) -> usize {
        self.feature_widths().len()
    }

    /// Outputs of the blocks that `taps` name, in order: `[B, N, D]`, the tokens of the image, or `[B, C, H, W]`. Arguments are
    /// those of [`Self::forward`]. For the prediction as well, put the taps into the call.
    ///
    /// # Panics
    /// If `taps` are for another number of blocks, or hold a pass that nobody took.
    fn features(
        &self,
        x_t: &Tensor,
        t: &Tensor,
        cond: &Conditioning,
        call: &Call<'_>,
        taps: &Taps,
    ) -> Vec<Tensor> {
        let taps_in = Call {
            taps: Some(taps),
            ..*call
        };
        let _prediction = self.forward(x_t, t, cond, &taps_in);
        taps.take()
    }
}
