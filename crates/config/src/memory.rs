//! `[memory]`: how and where weights wait between their uses.

use serde::{Deserialize, Serialize};

/// `[memory]`. All but the key on bits change where numbers lie, not the numbers.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches of a file, each by itself"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Memory {
    /// Whether weights of the teacher's linear layers, on which adapters sit, are kept in 8 bits: whole numbers with one factor
    /// for each row, made weights again for each use.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub base_in_8_bits: bool,
    /// Whether the weights of the teacher's layers wait in the memory of the host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub base_on_host: bool,
    /// Whether those of rewards and of the autoencoder wait there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rewards_on_host: bool,
    /// Whether several processes divide the weights of the teacher's layers among them, and fetch each for its use.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shard_base: bool,
    /// Whether they divide the moments of optimisers (ZeRO's first stage): for full students.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shard_moments: bool,
}

impl Memory {
    /// Whether all is as it is without the table.
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }

    /// What of it changes numbers.
    #[must_use]
    pub(crate) fn of_bits(self) -> Self {
        Self {
            base_in_8_bits: self.base_in_8_bits,
            ..Self::default()
        }
    }
}
