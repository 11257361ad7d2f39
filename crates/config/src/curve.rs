//! A scalar annealed over the updates of a run; every annealed hyper-parameter is a [`Curve`].
//!
//! Source of the cosine: `DynaDG` and `DynaRS`, arXiv 2511.13649 and its code:
//! `c(k) = (1 + cos(pi k / K)) / 2` for `k < K`, exactly 0 from `K` on.

use std::f64::consts::PI;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::range;

/// A scalar as a function of the update index `k = 0, 1, ...`.
///
/// In TOML it is a number (`0.5`) or a table with one shape
/// (`{ cosine = { from = 0.75, to = 0.0, over = 160 } }`). All shapes are finite for every update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self", rename_all = "snake_case", deny_unknown_fields)]
pub enum Curve {
    /// The same value for ever; a bare number in TOML.
    Constant(#[serde(deserialize_with = "range::finite")] f64),
    /// Straight from `from` at 0 to `to` at `over`, `to` afterwards.
    Linear {
        /// Value at update 0.
        #[serde(deserialize_with = "range::finite")]
        from: f64,
        /// Value at and after update `over`.
        #[serde(deserialize_with = "range::finite")]
        to: f64,
        /// Number of steps of the anneal.
        #[serde(deserialize_with = "range::positive_whole")]
        over: u64,
    },
    /// `to + (from - to) (1 + cos(pi k / over)) / 2`, exactly `to` at and after `over`.
    Cosine {
        /// Value at update 0.
        #[serde(deserialize_with = "range::finite")]
        from: f64,
        /// Value at and after update `over`.
        #[serde(deserialize_with = "range::finite")]
        to: f64,
        /// Number of steps of the anneal.
        #[serde(deserialize_with = "range::positive_whole")]
        over: u64,
    },
    /// `from` before update `at`, `to` from update `at` on.
    Step {
        /// Value before update `at`.
        #[serde(deserialize_with = "range::finite")]
        from: f64,
        /// Value at and after update `at`.
        #[serde(deserialize_with = "range::finite")]
        to: f64,
        /// First update with the new value.
        at: u64,
    },
    /// Linear rise to `peak` at update `warmup`, then a cosine to `end` at update `total`.
    ///
    /// The rise is `peak (k + 1) / (warmup + 1)`, so that update 0 already moves.
    WarmupCosine {
        /// Highest value, reached at update `warmup`.
        #[serde(deserialize_with = "range::finite")]
        peak: f64,
        /// Number of steps of the rise.
        warmup: u64,
        /// Step at and after which the value is `end`.
        #[serde(deserialize_with = "range::positive_whole")]
        total: u64,
        /// Last value.
        #[serde(deserialize_with = "range::finite")]
        end: f64,
    },
}

impl Curve {
    /// Value at update `update`.
    pub fn at(&self, update: u64) -> f64 {
        match *self {
            Self::Constant(value) => value,
            Self::Linear { from, to, over } => anneal(from, to, update, over, |x| 1.0 - x),
            Self::Cosine { from, to, over } => anneal(from, to, update, over, half_cosine),
            Self::Step { from, to, at } => {
                if update < at {
                    from
                } else {
                    to
                }
            }
            Self::WarmupCosine { peak, warmup, .. } if update < warmup => {
                peak * (update + 1) as f64 / (warmup + 1) as f64
            }
            Self::WarmupCosine {
                peak,
                warmup,
                total,
                end,
            } => anneal(
                peak,
                end,
                update - warmup,
                total.saturating_sub(warmup),
                half_cosine,
            ),
        }
    }

    /// Smallest and largest value the curve takes at any update.
    pub fn bounds(&self) -> (f64, f64) {
        let ends = match *self {
            Self::Constant(value) => [value, value, value],
            Self::Step { to, at: 0, .. } => [to, to, to],
            Self::Linear { from, to, .. }
            | Self::Cosine { from, to, .. }
            | Self::Step { from, to, .. } => [from, to, to],
            Self::WarmupCosine { peak, end, .. } => [self.at(0), peak, end],
        };
        let low = ends.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ends.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    }

    /// First update from which the value no longer changes.
    pub fn settled_at(&self) -> u64 {
        match *self {
            Self::Constant(_) => 0,
            Self::Linear { over, .. } | Self::Cosine { over, .. } => over,
            Self::Step { at, .. } => at,
            Self::WarmupCosine { total, .. } => total,
        }
    }
}

impl From<f64> for Curve {
    fn from(value: f64) -> Self {
        Self::Constant(value)
    }
}

/// `to + (from - to) weight(update / over)`, exactly `to` at and after `over`.
fn anneal(from: f64, to: f64, update: u64, over: u64, weight: fn(f64) -> f64) -> f64 {
    if update >= over {
        return to;
    }
    let value = to + (from - to) * weight(update as f64 / over as f64);
    // Rounding of `to + (from - to)` must not leave the interval.
    value.clamp(from.min(to), from.max(to))
}

fn half_cosine(x: f64) -> f64 {
    0.5 * (1.0 + (PI * x).cos())
}

impl Serialize for Curve {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Constant(value) => serializer.serialize_f64(value),
            _ => Self::serialize(self, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Curve {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(CurveVisitor)
    }
}

struct CurveVisitor;

impl<'de> Visitor<'de> for CurveVisitor {
    type Value = Curve;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a number, or a table with one of `constant`, `linear`, `cosine`, `step`, `warmup_cosine`",
        )
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Curve, E> {
        if value.is_finite() {
            Ok(Curve::Constant(value))
        } else {
            Err(E::invalid_value(
                Unexpected::Float(value),
                &"a finite number",
            ))
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Curve, E> {
        self.visit_f64(value as f64)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Curve, E> {
        self.visit_f64(value as f64)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Curve, A::Error> {
        if map.size_hint() == Some(0) {
            return Err(de::Error::invalid_value(Unexpected::Map, &self));
        }
        let curve = Curve::deserialize(MapAccessDeserializer::new(&mut map))?;
        if let Some(extra) = map.next_key::<String>()? {
            return Err(de::Error::custom(format!(
                "a curve has exactly one shape, found `{extra}` beside another; remove one of them"
            )));
        }
        if let Curve::WarmupCosine { warmup, total, .. } = curve
            && total <= warmup
        {
            return Err(de::Error::custom(format!(
                "`total` = {total} must be larger than `warmup` = {warmup}"
            )));
        }
        Ok(curve)
    }
}

fn bounded<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &str,
    accept: impl Fn(f64) -> bool,
) -> Result<Curve, D::Error> {
    let curve = <Curve as Deserialize>::deserialize(deserializer)?;
    let (low, _) = curve.bounds();
    if accept(low) {
        Ok(curve)
    } else {
        Err(de::Error::custom(format!(
            "invalid curve: its lowest value is {low}, expected {expected}"
        )))
    }
}

/// For `#[serde(deserialize_with)]`, as the functions of `range.rs`.
pub(crate) fn non_negative<'de, D: Deserializer<'de>>(d: D) -> Result<Curve, D::Error> {
    bounded(d, "at least 0 at every update", |x| x >= 0.0)
}

/// As [`non_negative`].
pub(crate) fn positive<'de, D: Deserializer<'de>>(d: D) -> Result<Curve, D::Error> {
    bounded(d, "above 0 at every update", |x| x > 0.0)
}

#[cfg(test)]
mod tests;
