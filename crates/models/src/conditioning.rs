//! What a text encoder hands to a backbone.

use dmdr_tensor::Tensor;

/// Encoded captions: token features `[B, L, D]` and one pooled vector `[B, P]` each.
#[derive(Debug)]
pub struct Conditioning {
    /// `[B, L, D]`.
    pub tokens: Tensor,
    /// `[B, P]`.
    pub pooled: Tensor,
}

impl Clone for Conditioning {
    fn clone(&self) -> Self {
        Self {
            tokens: self.tokens.shallow_clone(),
            pooled: self.pooled.shallow_clone(),
        }
    }
}

impl Conditioning {
    /// Number of captions.
    pub fn batch(&self) -> i64 {
        self.pooled.size()[0]
    }

    /// One caption's encoding repeated for a batch (a view, no copy).
    #[must_use]
    pub fn expand(&self, batch: i64) -> Self {
        Self {
            tokens: self.tokens.expand([batch, -1, -1], false),
            pooled: self.pooled.expand([batch, -1], false),
        }
    }

    /// Captions of `self`, then those of `other`.
    #[must_use]
    pub fn concat(&self, other: &Self) -> Self {
        Self {
            tokens: Tensor::cat(&[&self.tokens, &other.tokens], 0),
            pooled: Tensor::cat(&[&self.pooled, &other.pooled], 0),
        }
    }

    /// Captions `start .. start + len`.
    #[must_use]
    pub fn narrow(&self, start: i64, len: i64) -> Self {
        Self {
            tokens: self.tokens.narrow(0, start, len),
            pooled: self.pooled.narrow(0, start, len),
        }
    }

    /// Rows of `other` where `mask [B]` (bool) is true, own rows elsewhere.
    #[must_use]
    pub fn replace(&self, mask: &Tensor, other: &Self) -> Self {
        Self {
            tokens: other
                .tokens
                .where_self(&mask.reshape([-1, 1, 1]), &self.tokens),
            pooled: other
                .pooled
                .where_self(&mask.reshape([-1, 1]), &self.pooled),
        }
    }
}
