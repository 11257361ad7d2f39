//! What other tools call a layer of ours.

use std::collections::BTreeMap;

use dmdr_models::{FAMILIES, Outputs};

/// What stands before a layer's name, in the order in which it is taken off.
const PREFIXES: [&str; 6] = [
    "base_model.model.",
    "model.diffusion_model.",
    "diffusion_model.",
    "module.",
    "transformer.",
    "unet.",
];
/// What kohya, OneTrainer, LyCORIS and ComfyUI put before a layer's name with underscores for dots.
const FLAT_PREFIXES: [&str; 3] = ["lora_unet_", "lora_transformer_", "lycoris_"];
/// How names of layers of a text encoder begin, behind what PEFT puts before them.
const OF_TEXT_ENCODERS: [&str; 14] = [
    "text_encoder",
    "text_model.",
    "te.",
    "te1.",
    "te2.",
    "te3.",
    "clip_l.",
    "clip_g.",
    "t5xxl.",
    "conditioner.",
    "cond_stage_model.",
    "encoder.block.",
    "lora_te",
    "lora_text_",
];

/// A layer's name in a file, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stem {
    /// The layer's own name, with dots.
    pub(super) layer: String,
    /// Whether it has underscores for dots.
    pub(super) is_flat: bool,
    /// `transformer` or `unet`, where diffusers says which network it is of.
    pub(super) network: Option<&'static str>,
    /// Whether only PEFT writes such names.
    pub(super) is_pefts: bool,
}

impl Stem {
    pub(super) fn new(stem: &str) -> Self {
        for prefix in FLAT_PREFIXES {
            if let Some(layer) = stem.strip_prefix(prefix) {
                return Self {
                    layer: layer.to_owned(),
                    is_flat: true,
                    network: None,
                    is_pefts: false,
                };
            }
        }
        let (mut layer, mut network, mut is_pefts) = (stem, None, false);
        for prefix in PREFIXES {
            let Some(rest) = layer.strip_prefix(prefix) else {
                continue;
            };
            layer = rest;
            match prefix {
                "transformer." => network = Some("transformer"),
                "unet." => network = Some("unet"),
                "base_model.model." => is_pefts = true,
                _ => {}
            }
        }
        Self {
            // As diffusers wrote it when attention had processors.
            layer: layer.replace(".processor.", "."),
            is_flat: false,
            network,
            is_pefts,
        }
    }
}

/// Whether `stem`, a layer's name in a file, is one of a text encoder.
pub(super) fn is_of_text_encoder(stem: &str) -> bool {
    let stem = stem.strip_prefix("base_model.model.").unwrap_or(stem);
    let mut starts = OF_TEXT_ENCODERS.iter();
    starts.any(|start| stem.starts_with(start))
}

/// A layer of ours, and which outputs of the layer in the file are its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) layer: String,
    pub(super) outputs: Outputs,
}

/// Our layers by every name that they have elsewhere.
#[derive(Debug, Default)]
pub(super) struct Names {
    dotted: BTreeMap<String, Vec<Share>>,
    flat: BTreeMap<String, Vec<Share>>,
}

impl Names {
    /// Names of `layer`, whose weight is `[out, in, ..]`.
    pub(super) fn add(&mut self, layer: &str, out: i64, fan_in: i64) {
        let whole = |name: &str| (name.to_owned(), Outputs::All);
        let mut names = vec![whole(layer)];
        names.extend(layer.strip_suffix(".0").map(whole));
        let families = FAMILIES.iter();
        names.extend(families.filter_map(|family| family.original_name(layer, [out, fan_in])));
        for (name, outputs) in names {
            let share = Share {
                layer: layer.to_owned(),
                outputs,
            };
            let flat = self.flat.entry(name.replace('.', "_")).or_default();
            flat.push(share.clone());
            self.dotted.entry(name).or_default().push(share);
        }
    }

    /// The layers of ours that are the layer `stem` of a file, or parts of it.
    pub(super) fn shares(&self, stem: &Stem) -> &[Share] {
        let names = if stem.is_flat {
            &self.flat
        } else {
            &self.dotted
        };
        names.get(&stem.layer).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_layer_has_many_names() {
        let mut names = Names::default();
        let layer = "transformer_blocks.3.attn.to_out.0";
        names.add(layer, 8, 8);
        for stem in [
            "transformer_blocks.3.attn.to_out.0",
            "transformer.transformer_blocks.3.attn.to_out.0",
            "base_model.model.transformer_blocks.3.attn.to_out.0",
            "base_model.model.transformer.transformer_blocks.3.attn.to_out.0",
            "transformer.transformer_blocks.3.attn.processor.to_out",
            "diffusion_model.joint_blocks.3.x_block.attn.proj",
            "lora_unet_joint_blocks_3_x_block_attn_proj",
            "lora_transformer_transformer_blocks_3_attn_to_out_0",
        ] {
            let shares = names.shares(&Stem::new(stem));
            let found: Vec<&str> = shares.iter().map(|share| share.layer.as_str()).collect();
            assert_eq!(found, [layer], "{stem}");
        }
        assert_eq!(
            names.shares(&Stem::new("unet.transformer_blocks.4.attn.to_out.0")),
            []
        );
    }

    #[test]
    fn text_encoders_are_told() {
        for stem in [
            "text_encoder.text_model.encoder.layers.0.self_attn.q_proj",
            "text_encoder_2.text_model.encoder.layers.0.mlp.fc1",
            "base_model.model.text_model.encoder.layers.0.self_attn.q_proj",
            "te1.text_model.encoder.layers.0.self_attn.q_proj",
            "lora_te_text_model_encoder_layers_0_mlp_fc1",
            "lora_te3_encoder_block_0_layer_0_SelfAttention_q",
            "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc2",
        ] {
            assert!(is_of_text_encoder(stem), "{stem}");
        }
        assert!(!is_of_text_encoder(
            "time_text_embed.text_embedder.linear_1"
        ));
        assert!(!is_of_text_encoder(
            "lora_unet_time_text_embed_text_embedder_linear_1"
        ));
    }
}
