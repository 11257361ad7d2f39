//! How often each kind of prompt is drawn.

use dmdr_world::Kind;

/// Shares of the kinds in a stream of prompts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KindSampler {
    /// Upper end of each kind's stretch of the unit interval.
    ends: [f64; Kind::ALL.len()],
}

impl KindSampler {
    /// Shares in the order of [`Kind::ALL`], in any unit.
    ///
    /// # Panics
    /// If one is negative or all are 0.
    pub fn new(shares: [f64; Kind::ALL.len()]) -> Self {
        let total: f64 = shares.iter().sum();
        let valid = shares.iter().all(|&share| share >= 0.0) && total > 0.0;
        assert!(valid, "shares are not negative, and one is positive");
        let mut end = 0.0;
        Self {
            ends: shares.map(|share| {
                end += share / total;
                end
            }),
        }
    }

    /// The kind of the `index`-th prompt. Multiples of the golden ratio spread evenly over the unit interval, so every
    /// batch has nearly its shares.
    pub fn kind(&self, index: u64) -> Kind {
        // 0.618... in units of 2^-64: the product wraps where the fraction does.
        let place = index.wrapping_mul(0x9E37_79B9_7F4A_7C15) as f64 / 2f64.powi(64);
        let found = self.ends.iter().position(|&end| place < end);
        let last = || {
            self.ends
                .iter()
                .position(|&end| end >= self.ends[Kind::ALL.len() - 1])
        };
        Kind::ALL[found.or_else(last).expect("there are kinds")]
    }
}

impl Default for KindSampler {
    /// Equal shares.
    fn default() -> Self {
        Self::new([1.0; Kind::ALL.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stretch_has_the_shares() {
        let shares = KindSampler::new([1.0, 0.0, 2.0, 3.0, 1.0, 3.0]);
        for first in [0, 1_000_003] {
            let mut counts = [0; Kind::ALL.len()];
            for index in first..first + 100 {
                counts[shares.kind(index) as usize] += 1;
            }
            let expected = [10, 0, 20, 30, 10, 30];
            for (count, expected) in counts.iter().zip(expected) {
                assert!(i32::abs(count - expected) <= 2, "{counts:?}");
            }
            assert_eq!(counts[1], 0);
        }
    }

    #[test]
    #[should_panic(expected = "one is positive")]
    fn nothing_to_draw_is_refused() {
        KindSampler::new([0.0; Kind::ALL.len()]);
    }
}
