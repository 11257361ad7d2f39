//! Sizes of Z-Image's transformer.

use serde::{Deserialize, Serialize};

use crate::{AutoencoderKlConfig, ModelError, diffusers::check_range};

/// The constructor of diffusers' `ZImageTransformer2DModel` (0.42.1), and `time_hidden`, which is fixed there.
pub(super) const DEFAULTS: &str = r#"{
    "all_patch_size": [2], "all_f_patch_size": [1], "in_channels": 16, "dim": 3840, "n_layers": 30,
    "n_refiner_layers": 2, "n_heads": 30, "n_kv_heads": 30, "norm_eps": 1e-05, "qk_norm": true,
    "cap_feat_dim": 2560, "siglip_feat_dim": null, "rope_theta": 256.0, "t_scale": 1000.0,
    "axes_dims": [32, 48, 48], "axes_lens": [1024, 512, 512], "time_hidden": 1024
}"#;

/// Sizes; the fields of diffusers' `config.json`, and one that is fixed there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZImageConfig {
    /// Patch sides in latent pixels that have weights; one only.
    pub all_patch_size: Vec<i64>,
    /// Patch lengths in frames; 1 only.
    pub all_f_patch_size: Vec<i64>,
    /// Latent channels.
    pub in_channels: i64,
    /// Width.
    pub dim: i64,
    /// Main blocks.
    pub n_layers: i64,
    /// Blocks of each refiner.
    pub n_refiner_layers: i64,
    /// Attention heads.
    pub n_heads: i64,
    /// Heads of keys and values; diffusers does not read it.
    pub n_kv_heads: i64,
    /// Eps of the RMS norms.
    pub norm_eps: f64,
    /// Whether queries and keys are normalised.
    pub qk_norm: bool,
    /// Width of caption tokens.
    pub cap_feat_dim: i64,
    /// Width of SigLIP features; none only.
    #[serde(default)]
    pub siglip_feat_dim: Option<i64>,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// What times are multiplied by; 1000 only.
    pub t_scale: f64,
    /// Channels of a head that each axis of positions turns.
    pub axes_dims: Vec<i64>,
    /// Positions along each axis that diffusers tabulates; ours are computed as needed.
    pub axes_lens: Vec<i64>,
    /// Hidden width of the time embedding; diffusers' `config.json` leaves it out, as it is always 1024 there.
    #[serde(default = "default_time_hidden")]
    pub time_hidden: i64,
}

fn default_time_hidden() -> i64 {
    1024
}

impl ZImageConfig {
    /// Z-Image and Z-Image-Turbo: 6.2 billion parameters.
    pub fn z_image() -> Self {
        Self {
            all_patch_size: vec![2],
            all_f_patch_size: vec![1],
            in_channels: 16,
            dim: 3840,
            n_layers: 30,
            n_refiner_layers: 2,
            n_heads: 30,
            n_kv_heads: 30,
            norm_eps: 1e-5,
            qk_norm: true,
            cap_feat_dim: 2560,
            siglip_feat_dim: None,
            rope_theta: 256.0,
            t_scale: 1000.0,
            axes_dims: vec![32, 48, 48],
            axes_lens: vec![1536, 512, 512],
            time_hidden: default_time_hidden(),
        }
    }

    /// Patch side in latent pixels.
    pub(super) fn patch(&self) -> i64 {
        self.all_patch_size[0]
    }

    /// Hidden width of the MLPs.
    pub(super) fn hidden(&self) -> i64 {
        (self.dim as f64 / 3.0 * 8.0) as i64
    }

    /// Width of the embedded time.
    pub(super) fn time_dim(&self) -> i64 {
        self.dim.min(256)
    }

    /// # Errors
    /// Sizes that contradict each other, or a form of the network that is not built.
    #[expect(
        clippy::float_cmp,
        reason = "1000 is written exactly in every config.json"
    )]
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let check = |most, sizes: &[_]| check_range("Z-Image", most, sizes);
        check(
            1 << 10,
            &[
                ("n_layers", self.n_layers),
                ("n_refiner_layers", self.n_refiner_layers),
            ],
        )?;
        check(
            1 << 16,
            &[
                ("in_channels", self.in_channels),
                ("dim", self.dim),
                ("n_heads", self.n_heads),
                ("cap_feat_dim", self.cap_feat_dim),
                ("time_hidden", self.time_hidden),
            ],
        )?;
        for (name, sizes) in [
            ("all_patch_size", &self.all_patch_size),
            ("axes_dims", &self.axes_dims),
        ] {
            sizes
                .iter()
                .try_for_each(|&size| check(1 << 12, &[(name, size)]))?;
        }
        let turned: i64 = self.axes_dims.iter().sum();
        let reason = if self.all_patch_size.len() != 1 || self.all_f_patch_size != [1] {
            "one patch size is supported, of one frame".to_owned()
        } else if self.siglip_feat_dim.is_some() {
            "siglip_feat_dim is set, but only text conditions are supported".to_owned()
        } else if self.t_scale != 1000.0 {
            format!("t_scale is {}, but only 1000 is supported", self.t_scale)
        } else if self.axes_dims.len() != 3 || turned * self.n_heads != self.dim {
            let (axes, heads, dim) = (&self.axes_dims, self.n_heads, self.dim);
            format!("axes_dims {axes:?} do not fill {heads} heads of width {dim} together")
        } else if let Some(odd) = self.axes_dims.iter().find(|&axis| axis % 2 != 0) {
            format!("axes_dims has {odd}, but channels turn in pairs")
        } else {
            return Ok(());
        };
        Err(ModelError::Sizes {
            network: "Z-Image",
            reason,
        })
    }
}

impl AutoencoderKlConfig {
    /// Flux's, which Z-Image uses: latents of 16 channels.
    pub fn flux() -> Self {
        Self {
            latent_channels: 16,
            sample_size: 1024,
            scaling_factor: 0.3611,
            shift_factor: Some(0.1159),
            use_quant_conv: false,
            use_post_quant_conv: false,
            ..Self::sd1()
        }
    }
}
