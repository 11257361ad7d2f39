//! SD3's layers under the names of its original checkpoint, where queries, keys and values are one layer.
//!
//! kohya's scripts train SD3 on the original network (`networks/lora_sd3.py`), and ComfyUI knows any network by these names.
//! Which name is which shows diffusers' `convert_sd3_transformer_checkpoint_to_diffusers`.

use crate::{Outputs, layer_names::third};

/// The name of `layer` of diffusers' SD3 in the original, and its share there. `is_last` tells a last block, whose context
/// has but a scale and a shift.
pub(super) fn original(layer: &str, is_last: bool) -> Option<(String, Outputs)> {
    let outside = [
        ("pos_embed.proj", "x_embedder.proj"),
        (
            "time_text_embed.timestep_embedder.linear_1",
            "t_embedder.mlp.0",
        ),
        (
            "time_text_embed.timestep_embedder.linear_2",
            "t_embedder.mlp.2",
        ),
        ("time_text_embed.text_embedder.linear_1", "y_embedder.mlp.0"),
        ("time_text_embed.text_embedder.linear_2", "y_embedder.mlp.2"),
        ("proj_out", "final_layer.linear"),
    ];
    if let Some((_, name)) = outside.iter().find(|(name, _)| *name == layer) {
        return Some(((*name).to_owned(), Outputs::All));
    }
    if layer == "norm_out.linear" {
        let name = "final_layer.adaLN_modulation.1".to_owned();
        return Some((name, Outputs::Swapped));
    }
    let (block, name) = layer.strip_prefix("transformer_blocks.")?.split_once('.')?;
    let (place, outputs) = match name {
        "attn.to_out.0" => ("x_block.attn.proj", Outputs::All),
        "attn.to_add_out" => ("context_block.attn.proj", Outputs::All),
        "attn2.to_out.0" => ("x_block.attn2.proj", Outputs::All),
        "norm1.linear" => ("x_block.adaLN_modulation.1", Outputs::All),
        "norm1_context.linear" if is_last => ("context_block.adaLN_modulation.1", Outputs::Swapped),
        "norm1_context.linear" => ("context_block.adaLN_modulation.1", Outputs::All),
        "ff.net.0.proj" => ("x_block.mlp.fc1", Outputs::All),
        "ff.net.2" => ("x_block.mlp.fc2", Outputs::All),
        "ff_context.net.0.proj" => ("context_block.mlp.fc1", Outputs::All),
        "ff_context.net.2" => ("context_block.mlp.fc2", Outputs::All),
        _ => {
            let (attention, part) = name.split_once('.')?;
            let (side, third) = third(part)?;
            match (attention, side) {
                ("attn", 0) => ("x_block.attn.qkv", Outputs::Third(third)),
                ("attn", _) => ("context_block.attn.qkv", Outputs::Third(third)),
                ("attn2", 0) => ("x_block.attn2.qkv", Outputs::Third(third)),
                _ => return None,
            }
        }
    };
    Some((format!("joint_blocks.{block}.{place}"), outputs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kohyas_adapters() {
        for (ours, theirs, outputs) in [
            ("attn.to_k", "x_block.attn.qkv", Outputs::Third(1)),
            (
                "attn.add_v_proj",
                "context_block.attn.qkv",
                Outputs::Third(2),
            ),
            ("attn.to_add_out", "context_block.attn.proj", Outputs::All),
            ("attn2.to_q", "x_block.attn2.qkv", Outputs::Third(0)),
            ("ff_context.net.2", "context_block.mlp.fc2", Outputs::All),
            (
                "norm1_context.linear",
                "context_block.adaLN_modulation.1",
                Outputs::All,
            ),
        ] {
            let found = original(&format!("transformer_blocks.12.{ours}"), false);
            assert_eq!(found, Some((format!("joint_blocks.12.{theirs}"), outputs)));
        }
        let last = original("transformer_blocks.23.norm1_context.linear", true);
        assert_eq!(last.expect("a name").1, Outputs::Swapped);
    }
}
