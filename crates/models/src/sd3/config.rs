//! Sizes of SD3's transformer.

use serde::{Deserialize, Serialize};

use crate::{AutoencoderKlConfig, ModelError, diffusers::check_range};

/// The constructor of diffusers' `SD3Transformer2DModel` (0.42.1).
pub(super) const DEFAULTS: &str = r#"{
    "sample_size": 128, "patch_size": 2, "in_channels": 16, "num_layers": 18,
    "attention_head_dim": 64, "num_attention_heads": 18, "joint_attention_dim": 4096,
    "caption_projection_dim": 1152, "pooled_projection_dim": 2048, "out_channels": 16,
    "pos_embed_max_size": 96, "dual_attention_layers": [], "qk_norm": null
}"#;

/// Sizes; the fields of diffusers' `config.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sd3Config {
    /// Latent side at the training resolution.
    pub sample_size: i64,
    /// Patch side in latent pixels.
    pub patch_size: i64,
    /// Latent channels.
    pub in_channels: i64,
    /// Channels of the output.
    pub out_channels: i64,
    /// Blocks.
    pub num_layers: i64,
    /// Width of a head.
    pub attention_head_dim: i64,
    /// Attention heads.
    pub num_attention_heads: i64,
    /// Width of text tokens.
    pub joint_attention_dim: i64,
    /// Width text tokens are projected to: that of the network.
    pub caption_projection_dim: i64,
    /// Width of the pooled text vector.
    pub pooled_projection_dim: i64,
    /// Side of the grid of positions, in patches.
    pub pos_embed_max_size: i64,
    /// Blocks with a second attention among image tokens alone (SD3.5-Medium).
    #[serde(default)]
    pub dual_attention_layers: Vec<i64>,
    /// Normalisation of queries and keys (SD3.5).
    #[serde(default)]
    pub qk_norm: Option<QkNormalization>,
}

/// How queries and keys are normalised, per head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum QkNormalization {
    /// By their root mean square, with a learned scale.
    #[serde(rename = "rms_norm")]
    Rms,
}

impl Sd3Config {
    /// SD3-Medium: 2.0 billion parameters.
    pub fn sd3_medium() -> Self {
        Self {
            sample_size: 128,
            patch_size: 2,
            in_channels: 16,
            out_channels: 16,
            num_layers: 24,
            attention_head_dim: 64,
            num_attention_heads: 24,
            joint_attention_dim: 4096,
            caption_projection_dim: 1536,
            pooled_projection_dim: 2048,
            pos_embed_max_size: 192,
            dual_attention_layers: Vec::new(),
            qk_norm: None,
        }
    }

    /// SD3.5-Medium: 2.2 billion parameters.
    pub fn sd35_medium() -> Self {
        Self {
            pos_embed_max_size: 384,
            dual_attention_layers: (0..13).collect(),
            qk_norm: Some(QkNormalization::Rms),
            ..Self::sd3_medium()
        }
    }

    /// SD3.5-Large: 8.1 billion parameters.
    pub fn sd35_large() -> Self {
        Self {
            num_layers: 38,
            num_attention_heads: 38,
            caption_projection_dim: 2432,
            qk_norm: Some(QkNormalization::Rms),
            ..Self::sd3_medium()
        }
    }

    /// Width of the network.
    pub fn dim(&self) -> i64 {
        self.num_attention_heads * self.attention_head_dim
    }

    /// # Errors
    /// Sizes that contradict each other.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let check = |most, sizes: &[_]| check_range("SD3", most, sizes);
        check(
            1 << 10,
            &[
                ("num_layers", self.num_layers),
                ("patch_size", self.patch_size),
                ("pos_embed_max_size", self.pos_embed_max_size),
            ],
        )?;
        check(1 << 12, &[("sample_size", self.sample_size)])?;
        check(
            1 << 16,
            &[
                ("in_channels", self.in_channels),
                ("out_channels", self.out_channels),
                ("attention_head_dim", self.attention_head_dim),
                ("num_attention_heads", self.num_attention_heads),
                ("joint_attention_dim", self.joint_attention_dim),
                ("caption_projection_dim", self.caption_projection_dim),
                ("pooled_projection_dim", self.pooled_projection_dim),
            ],
        )?;
        let dim = self.dim();
        let reason = if self.caption_projection_dim != dim {
            format!(
                "caption_projection_dim {} differs from num_attention_heads * attention_head_dim = {dim}",
                self.caption_projection_dim
            )
        } else if dim % 4 != 0 {
            format!("width {dim} is no multiple of 4, which sin-cos positions need")
        } else if self.in_channels != self.out_channels {
            let (input, output) = (self.in_channels, self.out_channels);
            format!("in_channels {input} differs from out_channels {output}")
        } else if let Some(layer) = self
            .dual_attention_layers
            .iter()
            .find(|layer| !(0..self.num_layers).contains(layer))
        {
            let num_layers = self.num_layers;
            format!("dual_attention_layers names layer {layer} of {num_layers} (counted from 0)")
        } else {
            return Ok(());
        };
        Err(ModelError::Sizes {
            network: "SD3",
            reason,
        })
    }
}

impl AutoencoderKlConfig {
    /// SD3's and SD3.5's: latents of 16 channels.
    pub fn sd3() -> Self {
        Self {
            latent_channels: 16,
            sample_size: 1024,
            scaling_factor: 1.5305,
            shift_factor: Some(0.0609),
            use_quant_conv: false,
            use_post_quant_conv: false,
            ..Self::sd1()
        }
    }
}
