//! Sizes of the autoencoder.

use serde::{Deserialize, Serialize};

use crate::{ModelError, diffusers::check_range};

/// The constructor of diffusers' `AutoencoderKL` (0.42.1).
pub(super) const DEFAULTS: &str = r#"{
    "in_channels": 3, "out_channels": 3, "down_block_types": ["DownEncoderBlock2D"],
    "up_block_types": ["UpDecoderBlock2D"], "block_out_channels": [64], "layers_per_block": 1,
    "act_fn": "silu", "latent_channels": 4, "norm_num_groups": 32, "sample_size": 32,
    "scaling_factor": 0.18215, "shift_factor": null, "latents_mean": null, "latents_std": null,
    "force_upcast": true, "use_quant_conv": true, "use_post_quant_conv": true,
    "mid_block_add_attention": true
}"#;

/// Sizes; the fields of diffusers' `config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the fields of a published file"
)]
pub struct AutoencoderKlConfig {
    /// Channels of the image read.
    pub in_channels: i64,
    /// Channels of the image made.
    pub out_channels: i64,
    /// Stages of the encoder; each but the last halves the size.
    pub down_block_types: Vec<EncoderBlockType>,
    /// Stages of the decoder; each but the last doubles the size.
    pub up_block_types: Vec<DecoderBlockType>,
    /// Channels of the encoder's stages.
    pub block_out_channels: Vec<i64>,
    /// Residual blocks of a stage of the encoder; the decoder's have one more.
    pub layers_per_block: i64,
    /// Channels of a latent.
    pub latent_channels: i64,
    /// Groups of the group norms.
    pub norm_num_groups: i64,
    /// Side of the images it was trained on; nothing depends on it.
    pub sample_size: i64,
    /// What shifted latents are multiplied by, so that they have unit deviation.
    #[serde(default = "default_scaling_factor")]
    pub scaling_factor: f64,
    /// What is subtracted from latents before.
    #[serde(default)]
    pub shift_factor: Option<f64>,
    /// Whether f16 overflows; nothing depends on it, as the compute kind is the caller's choice.
    #[serde(default = "yes")]
    pub force_upcast: bool,
    /// A convolution of kernel 1 behind the encoder, in older ones.
    #[serde(default = "yes")]
    pub use_quant_conv: bool,
    /// A convolution of kernel 1 before the decoder, in older ones.
    #[serde(default = "yes")]
    pub use_post_quant_conv: bool,
    /// Attention between the two residual blocks at the lowest resolution.
    #[serde(default = "yes")]
    pub mid_block_add_attention: bool,
}

/// Kind of a stage of the encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EncoderBlockType {
    /// Residual blocks.
    #[serde(rename = "DownEncoderBlock2D")]
    Residual,
}

/// Kind of a stage of the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DecoderBlockType {
    /// Residual blocks.
    #[serde(rename = "UpDecoderBlock2D")]
    Residual,
}

/// Stable Diffusion 1's, which its older files leave out.
fn default_scaling_factor() -> f64 {
    0.18215
}

fn yes() -> bool {
    true
}

/// Stages whose sizes an image survives.
const MOST_STAGES: usize = 16;

impl AutoencoderKlConfig {
    /// Stable Diffusion 1 and `sd-vae-ft-ema`, which SiT uses: 84 million parameters, latents of 4 channels and an eighth of
    /// the side.
    pub fn sd1() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_block_types: vec![EncoderBlockType::Residual; 4],
            up_block_types: vec![DecoderBlockType::Residual; 4],
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: 256,
            scaling_factor: default_scaling_factor(),
            shift_factor: None,
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }

    /// Image pixels along a side of a latent pixel.
    pub fn downsampling(&self) -> i64 {
        1 << (self.block_out_channels.len() - 1)
    }

    /// # Errors
    /// Sizes that contradict each other.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let check = |most, sizes: &[_]| check_range("the autoencoder", most, sizes);
        check(1 << 10, &[("layers_per_block", self.layers_per_block)])?;
        check(
            1 << 16,
            &[
                ("latent_channels", self.latent_channels),
                ("norm_num_groups", self.norm_num_groups),
            ],
        )?;
        for &width in &self.block_out_channels {
            check(1 << 16, &[("block_out_channels", width)])?;
        }
        let (channels, groups) = (&self.block_out_channels, self.norm_num_groups);
        let stages = channels.len();
        let images = [self.in_channels, self.out_channels];
        let reason = if images != [3, 3] {
            format!("in_channels and out_channels are {images:?}, expected 3 each: of images")
        } else if self.scaling_factor == 0.0 {
            "scaling_factor is 0".to_owned()
        } else if stages > MOST_STAGES {
            format!("block_out_channels has {stages} stages, expected at most {MOST_STAGES}")
        } else if stages == 0
            || self.down_block_types.len() != stages
            || self.up_block_types.len() != stages
        {
            format!(
                "block_out_channels has {stages} stages, down_block_types {}, up_block_types {}",
                self.down_block_types.len(),
                self.up_block_types.len()
            )
        } else if let Some(width) = channels.iter().find(|&width| width % groups != 0) {
            format!("{width} channels do not divide into {groups} groups")
        } else {
            return Ok(());
        };
        Err(ModelError::Sizes {
            network: "the autoencoder",
            reason,
        })
    }
}
