//! `gradient_checkpointing`: how many blocks compute their activations again.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The share of a network's blocks whose activations are computed again for the gradient instead of being kept: `false` for
/// none, `true` for all, or a number in `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Checkpointing(f64);

impl Checkpointing {
    /// Of all blocks.
    pub const ALL: Self = Self(1.0);

    /// Of this share of them.
    ///
    /// # Panics
    /// If it is not in `[0, 1]`.
    pub fn of(share: f64) -> Self {
        assert!((0.0..=1.0).contains(&share), "a share of {share}");
        Self(share)
    }

    /// In `[0, 1]`.
    pub fn share(self) -> f64 {
        self.0
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
    pub(crate) fn is_off(&self) -> bool {
        self.0 == 0.0
    }
}

impl Serialize for Checkpointing {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            share if share <= 0.0 => serializer.serialize_bool(false),
            share if share >= 1.0 => serializer.serialize_bool(true),
            share => serializer.serialize_f64(share),
        }
    }
}

impl<'de> Deserialize<'de> for Checkpointing {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Share)
    }
}

struct Share;

impl Visitor<'_> for Share {
    type Value = Checkpointing;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("true, false, or the share of blocks in [0, 1]")
    }

    fn visit_bool<E: Error>(self, all: bool) -> Result<Checkpointing, E> {
        Ok(Checkpointing(f64::from(all)))
    }

    fn visit_f64<E: Error>(self, share: f64) -> Result<Checkpointing, E> {
        if (0.0..=1.0).contains(&share) {
            Ok(Checkpointing(share))
        } else {
            Err(E::invalid_value(Unexpected::Float(share), &self))
        }
    }

    fn visit_i64<E: Error>(self, share: i64) -> Result<Checkpointing, E> {
        match share {
            0 => Ok(Checkpointing(0.0)),
            1 => Ok(Checkpointing(1.0)),
            _ => Err(E::invalid_value(Unexpected::Signed(share), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct Keyed {
        key: Checkpointing,
    }

    #[test]
    fn words_and_shares() {
        for (text, share) in [("true", 1.0), ("false", 0.0), ("0.25", 0.25), ("1", 1.0)] {
            let found: Keyed = toml::from_str(&format!("key = {text}")).expect("a share");
            assert!((found.key.share() - share).abs() < 1e-12, "{text}");
            let again: Keyed = toml::from_str(&toml::to_string(&found).expect("TOML")).expect("it");
            assert_eq!(again.key, found.key);
        }
        for text in ["1.5", "-0.1", "2", "\"all\"", "nan"] {
            let error = toml::from_str::<Keyed>(&format!("key = {text}")).expect_err("none");
            assert!(error.to_string().contains("share of blocks"), "{error}");
        }
    }
}
