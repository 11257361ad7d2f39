//! Where a method's data come from.

use dmdr_batches::Prompts;
use dmdr_models::Conditioning;
use dmdr_tensor::Tensor;

use crate::Share;

/// What a source of data failed with.
pub type FeedError = Box<dyn std::error::Error + Send + Sync>;

/// Prompts and what networks read of them.
#[derive(Debug)]
pub struct Batch {
    /// The prompts, `B` of them.
    pub prompts: Prompts,
    /// Their encoding.
    pub cond: Conditioning,
}

/// A source of training data. All it gives is a pure function of the run's seed and the index it is asked for.
pub trait Feed {
    /// The batch of an iteration, counted over the whole run.
    ///
    /// # Errors
    /// Prompts that cannot be read or encoded.
    fn batch(&self, iteration: u64) -> Result<Batch, FeedError>;

    /// True images of `prompts`, the rows of `share`, for an iteration: `[B, C, H, W]` in the space of the networks, from -1 to 1
    /// for pixels. None where the truth cannot be drawn.
    ///
    /// # Errors
    /// Images that cannot be read.
    fn true_images(
        &self,
        prompts: &Prompts,
        share: Share,
        iteration: u64,
    ) -> Result<Option<Tensor>, FeedError> {
        let _ = (prompts, share, iteration);
        Ok(None)
    }
}
