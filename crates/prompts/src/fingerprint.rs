//! When two prompts count as the same: upper and lower case and white space make no difference.

use sha2::{Digest, Sha256};

/// Half of a SHA-256: among a billion prompts a chance meeting has probability below 1e-20.
pub(super) fn fingerprint(text: &str) -> u128 {
    let mut hasher = Sha256::new();
    for word in text.split_whitespace() {
        hasher.update(word.to_lowercase());
        hasher.update(b" ");
    }
    let digest: [u8; 32] = hasher.finalize().into();
    digest[..16]
        .iter()
        .fold(0, |number, &byte| number << 8 | u128::from(byte))
}
