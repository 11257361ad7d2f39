//! Sizes of SDXL's UNet.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    AutoencoderKlConfig, ModelError,
    diffusers::{check_range, one_for_all},
};

/// Numbers that come with a caption: original height and width, top and left of the crop, target height and width.
pub(super) const NUM_TIME_IDS: i64 = 6;

/// Sizes; the fields of diffusers' `config.json` in which SDXL-like networks may differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SdxlConfig {
    /// Latent side at the training resolution; nothing depends on it.
    pub sample_size: i64,
    /// Latent channels.
    pub in_channels: i64,
    /// Channels of the output.
    pub out_channels: i64,
    /// Stages on the way down; each but the last halves the size.
    pub down_block_types: Vec<DownBlockType>,
    /// Stages on the way up; each but the last doubles the size.
    pub up_block_types: Vec<UpBlockType>,
    /// Channels of the stages on the way down.
    pub block_out_channels: Vec<i64>,
    /// Residual blocks of a stage on the way down; on the way up there is one more.
    pub layers_per_block: i64,
    /// Groups of the group norms.
    pub norm_num_groups: i64,
    /// Eps of the residual blocks' norms.
    pub norm_eps: f64,
    /// Width of text tokens.
    pub cross_attention_dim: i64,
    /// Transformer blocks behind a residual block, by stage; the last number is also the middle's.
    pub transformer_layers_per_block: Vec<i64>,
    /// Attention *heads*, by stage; the name is a mistake that diffusers keeps.
    pub attention_head_dim: Vec<i64>,
    /// Width of each size's and crop's sinusoid.
    pub addition_time_embed_dim: i64,
    /// Widths of the pooled text and the six sinusoids together.
    pub projection_class_embeddings_input_dim: i64,
}

/// Kind of a stage on the way down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DownBlockType {
    /// Residual blocks.
    #[serde(rename = "DownBlock2D")]
    Residual,
    /// Residual blocks, each with a transformer behind it.
    #[serde(rename = "CrossAttnDownBlock2D")]
    Attention,
}

/// Kind of a stage on the way up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpBlockType {
    /// Residual blocks.
    #[serde(rename = "UpBlock2D")]
    Residual,
    /// Residual blocks, each with a transformer behind it.
    #[serde(rename = "CrossAttnUpBlock2D")]
    Attention,
}

/// The constructor of diffusers' `UNet2DConditionModel` (0.42.1).
pub(super) const DEFAULTS: &str = r#"{
    "sample_size": null, "in_channels": 4, "out_channels": 4, "center_input_sample": false,
    "flip_sin_to_cos": true, "freq_shift": 0,
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
    "mid_block_type": "UNetMidBlock2DCrossAttn",
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "only_cross_attention": false, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2,
    "downsample_padding": 1, "mid_block_scale_factor": 1, "dropout": 0.0, "act_fn": "silu",
    "norm_num_groups": 32, "norm_eps": 1e-05, "cross_attention_dim": 1280,
    "transformer_layers_per_block": 1, "reverse_transformer_layers_per_block": null,
    "encoder_hid_dim": null, "encoder_hid_dim_type": null, "attention_head_dim": 8,
    "num_attention_heads": null, "dual_cross_attention": false, "use_linear_projection": false,
    "class_embed_type": null, "addition_embed_type": null, "addition_time_embed_dim": null,
    "num_class_embeds": null, "upcast_attention": false, "resnet_time_scale_shift": "default",
    "resnet_skip_time_act": false, "resnet_out_scale_factor": 1.0,
    "time_embedding_type": "positional", "time_embedding_dim": null, "time_embedding_act_fn": null,
    "timestep_post_act": null, "time_cond_proj_dim": null, "conv_in_kernel": 3,
    "conv_out_kernel": 3, "projection_class_embeddings_input_dim": null,
    "attention_type": "default", "class_embeddings_concat": false,
    "mid_block_only_cross_attention": null, "cross_attention_norm": null,
    "addition_embed_type_num_heads": 64
}"#;

/// What `config.json` must say of everything else, as JSON.
pub(super) const FIXED: &[(&str, &str)] = &[
    ("act_fn", "\"silu\""),
    ("addition_embed_type", "\"text_time\""),
    ("addition_embed_type_num_heads", "64"), // of another addition_embed_type
    ("attention_type", "\"default\""),
    ("center_input_sample", "false"),
    ("class_embed_type", "null"),
    ("class_embeddings_concat", "false"),
    ("conv_in_kernel", "3"),
    ("conv_out_kernel", "3"),
    ("cross_attention_norm", "null"),
    ("downsample_padding", "1"),
    ("dropout", "0"),
    ("dual_cross_attention", "false"),
    ("encoder_hid_dim", "null"),
    ("encoder_hid_dim_type", "null"),
    ("flip_sin_to_cos", "true"),
    ("freq_shift", "0"),
    ("mid_block_only_cross_attention", "null"),
    ("mid_block_scale_factor", "1"),
    ("mid_block_type", "\"UNetMidBlock2DCrossAttn\""),
    ("num_attention_heads", "null"),
    ("num_class_embeds", "null"),
    ("only_cross_attention", "false"),
    ("resnet_out_scale_factor", "1"),
    ("resnet_skip_time_act", "false"),
    ("resnet_time_scale_shift", "\"default\""),
    ("reverse_transformer_layers_per_block", "null"),
    ("time_cond_proj_dim", "null"),
    ("time_embedding_act_fn", "null"),
    ("time_embedding_dim", "null"),
    ("time_embedding_type", "\"positional\""),
    ("timestep_post_act", "null"),
    ("upcast_attention", "false"),
    ("use_linear_projection", "true"),
];

/// One number for all stages where there is a list for each, and the other way round, as diffusers takes them.
pub(super) fn unify(arguments: &mut Map<String, Value>) {
    let stages = arguments["down_block_types"].as_array().map_or(0, Vec::len);
    for key in ["attention_head_dim", "transformer_layers_per_block"] {
        let value = &mut arguments[key];
        if value.is_number() {
            *value = Value::Array(vec![value.clone(); stages.min(MOST_STAGES)]);
        }
    }
    for key in [
        "layers_per_block",
        "cross_attention_dim",
        "only_cross_attention",
    ] {
        one_for_all(&mut arguments[key]);
    }
    let side = &mut arguments["sample_size"]; // nothing depends on it
    if side.is_null() || side.is_array() {
        *side = 128.into();
    }
}

/// Stages whose sizes a latent survives.
const MOST_STAGES: usize = 16;

impl SdxlConfig {
    /// SDXL: 2.6 billion parameters.
    pub fn sdxl() -> Self {
        Self {
            sample_size: 128,
            in_channels: 4,
            out_channels: 4,
            down_block_types: vec![
                DownBlockType::Residual,
                DownBlockType::Attention,
                DownBlockType::Attention,
            ],
            up_block_types: vec![
                UpBlockType::Attention,
                UpBlockType::Attention,
                UpBlockType::Residual,
            ],
            block_out_channels: vec![320, 640, 1280],
            layers_per_block: 2,
            norm_num_groups: 32,
            norm_eps: 1e-5,
            cross_attention_dim: 2048,
            transformer_layers_per_block: vec![1, 2, 10],
            attention_head_dim: vec![5, 10, 20],
            addition_time_embed_dim: 256,
            projection_class_embeddings_input_dim: 2816,
        }
    }

    /// Width of the pooled text vector.
    pub fn pooled_dim(&self) -> i64 {
        self.projection_class_embeddings_input_dim - NUM_TIME_IDS * self.addition_time_embed_dim
    }

    /// Width of the time embedding.
    pub(super) fn time_width(&self) -> i64 {
        4 * self.block_out_channels[0]
    }

    /// # Errors
    /// Sizes that contradict each other.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        self.check_ranges()?;
        let (channels, groups) = (&self.block_out_channels, self.norm_num_groups);
        let stages = channels.len();
        let lengths = [
            ("down_block_types", self.down_block_types.len()),
            ("up_block_types", self.up_block_types.len()),
            (
                "transformer_layers_per_block",
                self.transformer_layers_per_block.len(),
            ),
            ("attention_head_dim", self.attention_head_dim.len()),
        ];
        let heads = channels.iter().zip(&self.attention_head_dim);
        let reason = if let Some((name, length)) = lengths.iter().find(|(_, l)| *l != stages) {
            format!("{name} is for {length} stages, block_out_channels for {stages}")
        } else if stages == 0 || stages > MOST_STAGES {
            format!("there are {stages} stages, expected 1 to {MOST_STAGES}")
        } else if let Some(width) = channels.iter().find(|&width| width % groups != 0) {
            format!("{width} channels do not divide into {groups} groups")
        } else if let Some((width, heads)) =
            heads.into_iter().find(|&(width, heads)| width % heads != 0)
        {
            format!("{width} channels do not divide into {heads} heads")
        } else if self.in_channels != self.out_channels {
            let (input, output) = (self.in_channels, self.out_channels);
            format!("in_channels {input} differs from out_channels {output}")
        } else if self.pooled_dim() <= 0 {
            format!(
                "projection_class_embeddings_input_dim {} leaves no room for pooled text",
                self.projection_class_embeddings_input_dim
            )
        } else {
            return Ok(());
        };
        Err(ModelError::Sizes {
            network: "SDXL",
            reason,
        })
    }

    fn check_ranges(&self) -> Result<(), ModelError> {
        let check = |most, sizes: &[_]| check_range("SDXL", most, sizes);
        check(
            1 << 16,
            &[
                ("in_channels", self.in_channels),
                ("out_channels", self.out_channels),
                ("norm_num_groups", self.norm_num_groups),
                ("cross_attention_dim", self.cross_attention_dim),
                ("addition_time_embed_dim", self.addition_time_embed_dim),
                (
                    "projection_class_embeddings_input_dim",
                    self.projection_class_embeddings_input_dim,
                ),
            ],
        )?;
        check(1 << 10, &[("layers_per_block", self.layers_per_block)])?;
        for (name, most, sizes) in [
            ("block_out_channels", 1 << 16, &self.block_out_channels),
            ("attention_head_dim", 1 << 16, &self.attention_head_dim),
            (
                "transformer_layers_per_block",
                1 << 10,
                &self.transformer_layers_per_block,
            ),
        ] {
            sizes
                .iter()
                .try_for_each(|&size| check(most, &[(name, size)]))?;
        }
        Ok(())
    }
}

impl AutoencoderKlConfig {
    /// SDXL's: as Stable Diffusion 1's but for the weights and their scale.
    pub fn sdxl() -> Self {
        Self {
            sample_size: 1024,
            scaling_factor: 0.13025,
            ..Self::sd1()
        }
    }
}
