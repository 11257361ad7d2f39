//! [`Nothing`]: the feed of a training whose points no prompt describes.

use dmdr_batches::Prompts;
use dmdr_methods::{Batch, Feed, FeedError};
use dmdr_models::Conditioning;
use dmdr_tensor::Device;

/// Batches of so many points, which no prompt describes.
pub(super) struct Nothing(pub(super) usize);

impl Feed for Nothing {
    fn batch(&self, _: u64) -> Result<Batch, FeedError> {
        Ok(Batch {
            prompts: Prompts::plain(vec![String::new(); self.0]),
            cond: Conditioning::none(self.0 as i64, Device::Cpu),
        })
    }
}
