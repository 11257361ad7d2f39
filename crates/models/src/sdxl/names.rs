//! SDXL's layers under the names of its original checkpoint, which kohya's scripts and the interfaces after them use.
//!
//! There the blocks of a side are numbered through, and a block's parts are resnet, attention and resampling in this order
//! (github.com/Stability-AI/generative-models, `openaimodel.py`; diffusers' `convert_ldm_unet_checkpoint`).

/// Resnets of a block on the way down; on the way up there is one more.
const PER_BLOCK: usize = 2;

/// The name of `layer` of diffusers' UNet, where it has another one.
pub(super) fn original(layer: &str) -> Option<String> {
    let stem = [
        ("conv_in", "input_blocks.0.0"),
        ("conv_out", "out.2"),
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
    ];
    if let Some((_, name)) = stem.iter().find(|(name, _)| *name == layer) {
        return Some((*name).to_owned());
    }
    let parts: Vec<&str> = layer.split('.').collect();
    let number = |text: &str| text.parse::<usize>().unwrap_or(0);
    let of_resnet = |rest: &[&str]| match rest {
        ["conv1"] => "in_layers.2".to_owned(),
        ["time_emb_proj"] => "emb_layers.1".to_owned(),
        ["conv2"] => "out_layers.3".to_owned(),
        ["conv_shortcut"] => "skip_connection".to_owned(),
        rest => rest.join("."),
    };
    Some(match &parts[..] {
        ["down_blocks", block, "downsamplers", "0", "conv"] => {
            let index = (number(block) + 1) * (PER_BLOCK + 1);
            format!("input_blocks.{index}.0.op")
        }
        ["down_blocks", block, kind, at, rest @ ..] => {
            let index = number(block) * (PER_BLOCK + 1) + number(at) + 1;
            match *kind {
                "resnets" => format!("input_blocks.{index}.0.{}", of_resnet(rest)),
                _ => format!("input_blocks.{index}.1.{}", rest.join(".")),
            }
        }
        ["mid_block", "resnets", at, rest @ ..] => {
            format!("middle_block.{}.{}", 2 * number(at), of_resnet(rest))
        }
        ["mid_block", _, _, rest @ ..] => format!("middle_block.1.{}", rest.join(".")),
        // SDXL's blocks with an upsampler have attentions before it.
        ["up_blocks", block, "upsamplers", "0", "conv"] => {
            let index = number(block) * (PER_BLOCK + 1) + PER_BLOCK;
            format!("output_blocks.{index}.2.conv")
        }
        ["up_blocks", block, kind, at, rest @ ..] => {
            let index = number(block) * (PER_BLOCK + 1) + number(at);
            match *kind {
                "resnets" => format!("output_blocks.{index}.0.{}", of_resnet(rest)),
                _ => format!("output_blocks.{index}.1.{}", rest.join(".")),
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_published_adapters() {
        for (ours, theirs) in [
            (
                "down_blocks.0.resnets.1.conv1",
                "input_blocks.2.0.in_layers.2",
            ),
            ("down_blocks.0.downsamplers.0.conv", "input_blocks.3.0.op"),
            (
                "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
                "input_blocks.4.1.transformer_blocks.0.attn1.to_q",
            ),
            (
                "down_blocks.2.attentions.1.proj_in",
                "input_blocks.8.1.proj_in",
            ),
            (
                "mid_block.resnets.1.time_emb_proj",
                "middle_block.2.emb_layers.1",
            ),
            (
                "mid_block.attentions.0.transformer_blocks.9.ff.net.0.proj",
                "middle_block.1.transformer_blocks.9.ff.net.0.proj",
            ),
            ("up_blocks.0.upsamplers.0.conv", "output_blocks.2.2.conv"),
            (
                "up_blocks.1.attentions.2.proj_out",
                "output_blocks.5.1.proj_out",
            ),
            (
                "up_blocks.2.resnets.2.conv_shortcut",
                "output_blocks.8.0.skip_connection",
            ),
            ("add_embedding.linear_2", "label_emb.0.2"),
        ] {
            assert_eq!(original(ours).as_deref(), Some(theirs));
        }
    }
}
