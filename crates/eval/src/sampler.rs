//! The contract of everything that is evaluated.

use dmdr_batches::Prompts;
use dmdr_tensor::Tensor;

use crate::EvalError;

/// Makes images for prompts from given noise: teacher and student are compared on identical noise.
///
/// [`Self::sample`] is called without gradients. Noise that it draws besides (renoising between steps) must come from
/// libtorch's generator, which is reseeded before every call.
pub trait Sampler {
    /// `noise [B, 3, H, W]`, standard normal -> images `[B, 3, H, W]` in `[0, 1]`; values outside are clamped.
    ///
    /// # Errors
    /// If no images can be made; see [`EvalError::sampler`].
    fn sample(&self, prompts: &Prompts, noise: &Tensor) -> Result<Tensor, EvalError>;

    /// Network evaluations an image (NFE); guidance doubles them.
    fn num_evaluations(&self) -> usize;

    /// Scale of classifier-free guidance; 1 = none.
    fn guidance(&self) -> f64;

    /// Name in reports and errors.
    fn name(&self) -> &str;
}
