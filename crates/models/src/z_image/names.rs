//! Z-Image's layers under the names of its original checkpoint, where queries, keys and values are one layer.
//!
//! diffusers' `_convert_non_diffusers_z_image_lora_to_diffusers` shows which name is which.

use crate::{Outputs, layer_names::third};

/// The name of `layer` of diffusers' Z-Image in the original, and its share there, where it has another.
pub(super) fn original(layer: &str) -> Option<(String, Outputs)> {
    let (place, name) = layer.split_once(".attention.")?;
    if name == "to_out.0" {
        return Some((format!("{place}.attention.out"), Outputs::All));
    }
    let (_, third) = third(name).filter(|(side, _)| *side == 0)?;
    Some((format!("{place}.attention.qkv"), Outputs::Third(third)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_original_adapters() {
        let found = original("noise_refiner.1.attention.to_v");
        let expected = (
            "noise_refiner.1.attention.qkv".to_owned(),
            Outputs::Third(2),
        );
        assert_eq!(found, Some(expected));
        assert_eq!(original("layers.0.feed_forward.w1"), None);
    }
}
