//! The image autoencoder of latent diffusion (arXiv 2112.10752), as published with Stable Diffusion and after it.
//!
//! Parameters carry the names of diffusers' `AutoencoderKL` (0.42.1, `models/autoencoders/autoencoder_kl.py`);
//! `tests/parity/vae.rs` compares values and gradients with it. Deviations: images are in `[0, 1]` as everywhere in this project, and
//! latents are scaled and shifted as the diffusion networks expect them, so callers never see the factors.

mod config;
mod decoder;
mod encoder;
mod mid;
mod tiles;

use std::path::Path;

use dmdr_tensor::{DIFFUSERS_WEIGHTS, LoadReport, ParamStore, Scope, Tensor, TensorError};
use serde_json::{Map, Value};

use self::{decoder::Decoder, encoder::Encoder};
use crate::{Call, Decoder as ImageDecoder, Diffusers, ModelError, conv::Groups};

pub use self::config::{AutoencoderKlConfig, DecoderBlockType, EncoderBlockType};

/// Names of the attention's layers in files from before 2023, and today's.
const RENAMED: [(&str, &str); 4] = [
    (".query.", ".to_q."),
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
];

/// The network. Images `[B, 3, H, W]` in `[0, 1]`, sides multiples of `f`; latents `[B, C, H/f, W/f]`.
#[derive(Debug)]
pub struct AutoencoderKl {
    config: AutoencoderKlConfig,
    encoder: Encoder,
    decoder: Decoder,
    /// Side of the tiles that images are decoded in, in latent pixels.
    tile: Option<i64>,
}

/// The Gaussian over latents that an image is encoded to. Both unscaled, `[B, C, H/f, W/f]`.
#[derive(Debug)]
pub struct Posterior {
    /// Mean.
    pub mean: Tensor,
    /// Logarithm of the variance, in `[-30, 20]`.
    pub logvar: Tensor,
    scale: f64,
    shift: f64,
}

impl Posterior {
    /// Its mean as a diffusion network expects it.
    pub fn mode(&self) -> Tensor {
        (&self.mean - self.shift) * self.scale
    }

    /// A draw from libtorch's random state, as a diffusion network expects it.
    pub fn sample(&self) -> Tensor {
        let deviation = (&self.logvar * 0.5).exp();
        (&self.mean + deviation * self.mean.randn_like() - self.shift) * self.scale
    }
}

impl AutoencoderKl {
    /// Builds the network with parameters in `store`.
    ///
    /// # Errors
    /// Sizes that contradict each other.
    pub fn new(store: &ParamStore, config: AutoencoderKlConfig) -> Result<Self, ModelError> {
        config.check()?;
        let scope = Scope::root(store, &[]);
        Ok(Self {
            encoder: Encoder::new(&scope, &config),
            decoder: Decoder::new(&scope, &config),
            tile: None,
            config,
        })
    }

    /// Fills `store` from a folder of diffusers, in which the attention may still have its old names.
    ///
    /// # Errors
    /// As for [`ParamStore::load_folder`].
    pub fn load(store: &ParamStore, folder: &Path) -> Result<LoadReport, TensorError> {
        store.load_folder_of(folder, DIFFUSERS_WEIGHTS, &|name| {
            let rename = |name: String, (old, new): &(&str, &str)| name.replace(old, new);
            Some(RENAMED.iter().fold(name.to_owned(), rename))
        })
    }

    /// The same, but what it decodes as a [`Decoder`](ImageDecoder) is put together from tiles of `tile` latent pixels:
    /// [`Self::decode_tiled`].
    #[must_use]
    pub fn with_tiles(self, tile: i64) -> Self {
        let tile = Some(tile);
        Self { tile, ..self }
    }

    /// Sizes.
    pub fn config(&self) -> &AutoencoderKlConfig {
        &self.config
    }

    /// `[C, h, w]` of the latents of an image of `size` pixels on a side.
    pub fn latent_shape(&self, size: i64) -> [i64; 3] {
        let side = size / self.config.downsampling();
        [self.config.latent_channels, side, side]
    }

    /// What `images` are encoded to.
    pub fn encode(&self, images: &Tensor) -> Posterior {
        let moments = self
            .encoder
            .forward(&(images * 2.0 - 1.0), &Call::default())
            .chunk(2, 1);
        Posterior {
            mean: moments[0].shallow_clone(),
            logvar: moments[1].clamp(-30.0, 20.0),
            scale: self.config.scaling_factor,
            shift: self.shift(),
        }
    }

    /// Images in `[0, 1]`, not clamped, so that a gradient survives where they overshoot. For that gradient activations are
    /// computed again, stage by stage: half again the work, in the memory of one stage and of what each starts from.
    pub fn decode(&self, latents: &Tensor) -> Tensor {
        image(&self.decoder.forward(&self.unscaled(latents)))
    }

    /// [`Self::decode`] one image at a time: slower, in the memory of one.
    pub fn decode_sliced(&self, latents: &Tensor) -> Tensor {
        sliced(latents, |latent| self.decode(latent))
    }

    /// [`Self::decode`] in squares of `tile` latent pixels that overlap by a quarter and are blended: in the memory of one
    /// tile. Not quite the same image, as attention and norms see a tile alone. Latents that fit one tile are
    /// decoded whole.
    ///
    /// # Panics
    /// If `tile` is not a positive multiple of 4.
    pub fn decode_tiled(&self, latents: &Tensor, tile: i64) -> Tensor {
        assert!(tile > 0 && tile % 4 == 0, "tile {tile} is no multiple of 4");
        let (_, _, height, width) = latents.size4().expect("latents are [B, C, h, w]");
        if height.max(width) <= tile {
            return self.decode(latents);
        }
        let decode = |z: &Tensor| self.decoder.forward(z);
        let factor = self.config.downsampling();
        image(&tiles::decode(
            &self.unscaled(latents),
            tile,
            factor,
            decode,
        ))
    }

    fn unscaled(&self, latents: &Tensor) -> Tensor {
        latents / self.config.scaling_factor + self.shift()
    }

    fn shift(&self) -> f64 {
        self.config.shift_factor.unwrap_or(0.0)
    }
}

impl AutoencoderKlConfig {
    fn norm(&self) -> Groups {
        Groups {
            groups: self.norm_num_groups,
            eps: 1e-6,
        }
    }
}

/// What `decode` makes of each of `latents`, one at a time.
fn sliced(latents: &Tensor, decode: impl Fn(&Tensor) -> Tensor) -> Tensor {
    let images: Vec<Tensor> = latents.split(1, 0).iter().map(decode).collect();
    Tensor::cat(&images, 0)
}

/// `[-1, 1]` -> `[0, 1]`.
fn image(x: &Tensor) -> Tensor {
    x * 0.5 + 0.5
}

impl ImageDecoder for AutoencoderKl {
    /// One image at a time, and tile by tile where that was asked for.
    fn decode(&self, x0: &Tensor) -> Tensor {
        let images = match self.tile {
            Some(tile) => sliced(x0, |latent| self.decode_tiled(latent, tile)),
            None => self.decode_sliced(x0),
        };
        images.clamp(0.0, 1.0)
    }
}

impl Diffusers for AutoencoderKl {
    const CLASS: &'static str = "AutoencoderKL";
    const DEFAULTS: &'static str = config::DEFAULTS;
    const FIXED: &'static [(&'static str, &'static str)] = &[
        ("act_fn", "\"silu\""),
        ("latents_mean", "null"),
        ("latents_std", "null"),
    ];
    type Config = AutoencoderKlConfig;

    fn unify(arguments: &mut Map<String, Value>) {
        let side = &mut arguments["sample_size"]; // nothing depends on it
        if side.is_null() || side.is_array() {
            *side = 1024.into();
        }
        if arguments["force_upcast"].is_null() {
            arguments["force_upcast"] = true.into(); // nor on this
        }
    }

    fn check(config: &AutoencoderKlConfig) -> Result<(), ModelError> {
        config.check()
    }
}
