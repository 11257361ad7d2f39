//! Reproducible randomness: libtorch's generator is reseeded at every step, so resuming needs no generator state.

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

/// Sets libtorch's random state from words such as `(seed, stream, step, rank)`.
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
}
