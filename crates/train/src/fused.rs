//! The second attention of SD3.5-Medium under the names of its original checkpoint, where queries, keys and values are one layer.
//!
//! ComfyUI derives names from diffusers' for every layer of SD3 but these; what it knows of any network is `diffusion_model.`
//! before the checkpoint's own names (its `model_lora_keys_unet`). Which name is which shows diffusers'
//! `convert_sd3_transformer_checkpoint_to_diffusers`.

use std::collections::BTreeMap;

use dmdr_tensor::Tensor;

use crate::mmdit::{Outputs, of_sd3};

/// A layer of a second attention: its place in the original, and which of queries, keys and values it is; none for the output.
pub(crate) struct SecondAttention {
    place: String,
    part: Option<i64>,
}

/// A low-rank product `up [out, r]`, `down [r, in]`, which is applied times `alpha / r`.
pub(crate) struct Pair {
    pub(crate) down: Tensor,
    pub(crate) up: Tensor,
    pub(crate) alpha: f64,
}

impl SecondAttention {
    /// `layer` as diffusers calls it, if it is one.
    pub(crate) fn of(layer: &str) -> Option<Self> {
        if !layer.contains(".attn2.") {
            return None;
        }
        let (name, outputs) = of_sd3(layer, false)?;
        let place = format!("diffusion_model.{name}");
        let part = match outputs {
            Outputs::Third(part) => Some(part),
            Outputs::All | Outputs::Swapped => None,
        };
        Some(Self { place, part })
    }
}

/// Pairs of second attentions under the original's names: three of an attention become one, whose `down`
/// stacks theirs and whose `up` has them on its diagonal.
pub(crate) fn fused(pairs: Vec<(SecondAttention, Pair)>) -> BTreeMap<String, Tensor> {
    let mut places: BTreeMap<String, Vec<(Option<i64>, Pair)>> = BTreeMap::new();
    for (layer, pair) in pairs {
        places
            .entry(layer.place)
            .or_default()
            .push((layer.part, pair));
    }
    let mut tensors = BTreeMap::new();
    for (place, mut parts) in places {
        parts.sort_by_key(|(part, _)| *part);
        let downs: Vec<&Tensor> = parts.iter().map(|(_, pair)| &pair.down).collect();
        let down = Tensor::cat(&downs, 0);
        let num_columns = down.size()[0];
        let alpha: f64 = parts[0].1.alpha * parts.len() as f64;
        let (num_rows, rank) = parts[0].1.up.size2().expect("[out, r]");
        let of_layer = match parts[0].0 {
            Some(_) => 3,
            None => 1,
        };
        let up = Tensor::zeros(
            [of_layer * num_rows, num_columns],
            (down.kind(), down.device()),
        );
        for (column, (part, pair)) in (0..).zip(&parts) {
            let row = part.unwrap_or(0) * num_rows;
            let mut block = up.narrow(0, row, num_rows).narrow(1, column * rank, rank);
            block.copy_(&pair.up);
        }
        tensors.insert(format!("{place}.lora_down.weight"), down);
        tensors.insert(format!("{place}.lora_up.weight"), up);
        tensors.insert(format!("{place}.alpha"), Tensor::from(alpha as f32));
    }
    tensors
}
