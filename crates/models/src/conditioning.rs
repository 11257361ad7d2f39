//! What a text encoder hands to a backbone.

use dmdr_tensor::{Device, Kind, Tensor};

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
    /// For worlds without text: features of width 0.
    pub fn none(batch: i64, device: Device) -> Self {
        let options = (Kind::Float, device);
        Self {
            tokens: Tensor::zeros([batch, 1, 0], options),
            pooled: Tensor::zeros([batch, 0], options),
        }
    }

    /// Random numbers in the place of one caption's `length` tokens of `width` and of its pooled vector.
    pub fn random(length: i64, width: i64, pooled: i64, device: Device) -> Self {
        let options = (Kind::Float, device);
        Self {
            tokens: Tensor::randn([1, length, width], options),
            pooled: Tensor::randn([1, pooled], options),
        }
    }

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

    /// Each caption `times` times in a row.
    #[must_use]
    pub fn repeat(&self, times: i64) -> Self {
        let repeat = |x: &Tensor| x.repeat_interleave_self_int(times, 0, None);
        Self {
            tokens: repeat(&self.tokens),
            pooled: repeat(&self.pooled),
        }
    }

    /// The captions at `rows` (i64).
    #[must_use]
    pub fn select(&self, rows: &Tensor) -> Self {
        Self {
            tokens: self.tokens.index_select(0, rows),
            pooled: self.pooled.index_select(0, rows),
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
