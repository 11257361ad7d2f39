//! Reproducible randomness: libtorch's generator is reseeded at every iteration, so resuming needs no generator state.

/// Mixes words into one well-spread 63-bit seed (splitmix64 finaliser after each word).
pub fn mix(words: &[u64]) -> i64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    for &word in words {
        state = (state ^ word).wrapping_add(0x9E37_79B9_7F4A_7C15);
        state = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        state ^= state >> 31;
    }
    (state >> 1) as i64
}

/// A number in `[0, 1)` from words such as `(seed, stream, iteration)`, uniform over the words; libtorch's state is left alone.
pub fn uniform(words: &[u64]) -> f64 {
    const BITS: u32 = 53; // of an f64's mantissa, taken from the top of 63
    (mix(words) >> (63 - BITS)) as f64 / (1_u64 << BITS) as f64
}

/// Sets libtorch's random state from words such as `(seed, iteration)`.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that seeds"
)]
pub fn reseed(words: &[u64]) {
    tch::manual_seed(mix(words));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ_and_order_matters() {
        let mut seen: Vec<i64> = (0..1000).map(|step| mix(&[7, step])).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
        assert_ne!(mix(&[1, 2]), mix(&[2, 1]));
        assert!(seen[0] >= 0);
    }

    #[test]
    fn uniform_numbers_fill_the_interval() {
        let drawn: Vec<f64> = (0..20_000).map(|step| uniform(&[7, step])).collect();
        assert!(drawn.iter().all(|x| (0.0..1.0).contains(x)));
        let mean = drawn.iter().sum::<f64>() / 20_000.0;
        let square = drawn.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        // The deviations of these means are .0020 and .0021.
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
        assert!((square - 1.0 / 3.0).abs() < 0.01, "{square}");
    }
}
