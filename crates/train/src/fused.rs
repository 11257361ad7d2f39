//! The second attention of SD3.5-Medium under the names of its original checkpoint, where queries, keys and values are one layer.
//!
//! ComfyUI derives names from diffusers' for every layer of SD3 but these; what it knows of any network is `diffusion_model.`
//! before the checkpoint's own names (its `model_lora_keys_unet`). Which name is which shows diffusers'
//! `convert_sd3_transformer_checkpoint_to_diffusers`.

use std::collections::BTreeMap;

use dmdr_tensor::{Kind, Tensor};

/// The layers that are one in the original, in their order.
const PARTS: [&str; 3] = ["to_q", "to_k", "to_v"];

/// A layer of a second attention: its place in the original, and which of the [`PARTS`] it is; none for the output.
pub(crate) struct SecondAttention {
    place: String,
    part: Option<usize>,
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
        let rest = layer.strip_prefix("transformer_blocks.")?;
        let (block, name) = rest.split_once(".attn2.")?;
        let part = PARTS.iter().position(|part| *part == name);
        let own = match (part, name) {
            (Some(_), _) => "qkv",
            (None, "to_out.0") => "proj",
            (None, _) => return None,
        };
        let place = format!("diffusion_model.joint_blocks.{block}.x_block.attn2.{own}");
        Some(Self { place, part })
    }

    /// This layer's share of what `found`, the tensors of a file, holds at its place, in a pair of rank `rank`: its block of
    /// three that were put together, or the rows of one that was trained on the layer as it is.
    pub(crate) fn pair(
        &self,
        found: &BTreeMap<String, Tensor>,
        rank: i64,
    ) -> Option<(Pair, [String; 3])> {
        let names = ["lora_down.weight", "lora_up.weight", "alpha"]
            .map(|part| format!("{}.{part}", self.place));
        let tensor = |name: &String| Some(found.get(name)?.to_kind(Kind::Float));
        let (mut down, mut up) = (tensor(&names[0])?, tensor(&names[1])?);
        let num_columns = down.size()[0];
        let mut alpha =
            tensor(&names[2]).map_or(num_columns as f64, |alpha| alpha.double_value(&[]));
        if let Some(part) = self.part {
            let (part, count) = (part as i64, PARTS.len() as i64);
            let num_rows = up.size()[0] / count;
            up = up.narrow(0, part * num_rows, num_rows);
            if let Some(place) = own_columns(&up, rank) {
                down = down.narrow(0, place, rank);
                up = up.narrow(1, place, rank);
                alpha *= rank as f64 / num_columns as f64;
            }
        }
        Some((Pair { down, up, alpha }, names))
    }
}

/// Where, in `up [out, r]` of several pairs that were put together, the columns of one of `rank` stand: the only ones that
/// are not zero. None if there is but one pair, or one of a higher rank.
fn own_columns(up: &Tensor, rank: i64) -> Option<i64> {
    let num_columns = up.size()[1];
    if num_columns == rank || num_columns % rank != 0 {
        return None;
    }
    let blocks = (0..num_columns).step_by(rank as usize);
    let used: Vec<i64> = blocks
        .filter(|&place| up.narrow(1, place, rank).abs().max().double_value(&[]) > 0.0)
        .collect();
    match used[..] {
        [] => Some(0), // a layer without a pair among theirs
        [place] => Some(place),
        _ => None,
    }
}

/// Pairs of second attentions under the original's names: three of an attention become one, whose `down`
/// stacks theirs and whose `up` has them on its diagonal.
pub(crate) fn fused(pairs: Vec<(SecondAttention, Pair)>) -> BTreeMap<String, Tensor> {
    let mut places: BTreeMap<String, Vec<(Option<usize>, Pair)>> = BTreeMap::new();
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
            Some(_) => PARTS.len() as i64,
            None => 1,
        };
        let up = Tensor::zeros(
            [of_layer * num_rows, num_columns],
            (down.kind(), down.device()),
        );
        for (column, (part, pair)) in (0..).zip(&parts) {
            let row = part.unwrap_or(0) as i64 * num_rows;
            let mut block = up.narrow(0, row, num_rows).narrow(1, column * rank, rank);
            block.copy_(&pair.up);
        }
        tensors.insert(format!("{place}.lora_down.weight"), down);
        tensors.insert(format!("{place}.lora_up.weight"), up);
        tensors.insert(format!("{place}.alpha"), Tensor::from(alpha as f32));
    }
    tensors
}
