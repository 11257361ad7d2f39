//! SD3's and Z-Image's layers under the names of their original checkpoints, where queries, keys and values are one layer.
//!
//! kohya's scripts train SD3 on the original network (`networks/lora_sd3.py`), and ComfyUI knows any network by these names.
//! Which name is which shows diffusers' `convert_sd3_transformer_checkpoint_to_diffusers`; Z-Image's, its
//! `_convert_non_diffusers_z_image_lora_to_diffusers`.

/// The layers that are one in the original, in their order.
const QKV: [[&str; 3]; 2] = [
    ["to_q", "to_k", "to_v"],
    ["add_q_proj", "add_k_proj", "add_v_proj"],
];

/// Which outputs of an original layer are those of one of diffusers'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outputs {
    /// All of them, in their order.
    All,
    /// The third with this index: queries, keys or values.
    Third(i64),
    /// All of them, the second half first: diffusers has a scale before its shift, the original after it.
    Swapped,
}

/// The name of `layer` of diffusers' SD3 in the original, and its share there. `is_last` tells a last block, whose context
/// has but a scale and a shift.
pub(crate) fn of_sd3(layer: &str, is_last: bool) -> Option<(String, Outputs)> {
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

/// The name of `layer` of diffusers' Z-Image in the original, and its share there, where it has another.
pub(crate) fn of_z_image(layer: &str) -> Option<(String, Outputs)> {
    let (place, name) = layer.split_once(".attention.")?;
    if name == "to_out.0" {
        return Some((format!("{place}.attention.out"), Outputs::All));
    }
    let (_, third) = third(name).filter(|(side, _)| *side == 0)?;
    Some((format!("{place}.attention.qkv"), Outputs::Third(third)))
}

/// Which of the lists of [`QKV`] has `part`, and where in it.
fn third(part: &str) -> Option<(usize, i64)> {
    let mut sides = QKV.iter().enumerate();
    sides.find_map(|(side, names)| {
        let index = names.iter().position(|name| *name == part)?;
        Some((side, index as i64))
    })
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
            let found = of_sd3(&format!("transformer_blocks.12.{ours}"), false);
            assert_eq!(found, Some((format!("joint_blocks.12.{theirs}"), outputs)));
        }
        let last = of_sd3("transformer_blocks.23.norm1_context.linear", true);
        assert_eq!(last.expect("a name").1, Outputs::Swapped);
        let found = of_z_image("noise_refiner.1.attention.to_v");
        let expected = (
            "noise_refiner.1.attention.qkv".to_owned(),
            Outputs::Third(2),
        );
        assert_eq!(found, Some(expected));
        assert_eq!(of_z_image("layers.0.feed_forward.w1"), None);
    }
}
