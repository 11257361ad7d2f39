//! [`TextEncoder`]: what a pipeline makes of its prompts.

use crate::{Conditioning, ModelError};

/// Prompts to what a backbone is conditioned on.
pub trait TextEncoder {
    /// One row for each prompt, in order; there is at least one.
    ///
    /// # Errors
    /// A prompt that a tokenizer refuses.
    fn encode(&self, prompts: &[&str]) -> Result<Conditioning, ModelError>;

    /// What the pipeline is guided away from when nothing is asked for, one row.
    ///
    /// # Errors
    /// As for [`Self::encode`].
    fn unconditional(&self) -> Result<Conditioning, ModelError>;
}
