//! Randomness as a pure function of (seed, index, stream).

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a random sequence is used for: equal seeds never share a sequence between two uses.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Stream {
    Prompt,
    Scene,
    Split,
    DensePrompt,
    DenseScene,
    Noise,
    Audit,
    Contrast,
}

/// The finaliser of `SplitMix64`: every input bit changes every output bit with probability one half.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// A hash that is the same on every machine and in every version.
pub(crate) fn stable_hash(stream: Stream, words: impl IntoIterator<Item = u64>) -> u64 {
    words
        .into_iter()
        .fold(mix(stream as u64), |state, word| mix(state ^ mix(word)))
}

/// Hash of a text, same on every machine and in every version.
pub(crate) fn text_hash(stream: Stream, text: &str) -> u64 {
    stable_hash(stream, text.bytes().map(u64::from))
}

/// The generator of one use.
pub(crate) fn generator(stream: Stream, words: impl IntoIterator<Item = u64>) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(stable_hash(stream, words))
}
