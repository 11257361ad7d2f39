//! [`ImageSides`]: which sides of images a published pipeline can make.

use std::path::Path;

use crate::{
    AutoencoderKl, Diffusers, ModelError, Pipeline, Sd3, SdxlUnet, ZImage, load_diffusers_config,
};

/// Sides of images in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSides {
    /// They are multiples of it: what a latent pixel covers, times a patch where there are some.
    pub step: i64,
    /// The largest, where positions end.
    pub most: Option<i64>,
}

impl ImageSides {
    /// Those of the pipeline in `folder`, from the configs of its network and its autoencoder.
    ///
    /// # Errors
    /// A config that cannot be read, or two that do not fit together.
    pub fn of(pipeline: Pipeline, folder: &Path) -> Result<Self, ModelError> {
        let vae = load_diffusers_config::<AutoencoderKl>(&folder.join("vae"))?;
        let folder = folder.join(pipeline.network());
        let (class, channels, unit, most) = match pipeline {
            Pipeline::StableDiffusionXl => {
                let config = load_diffusers_config::<SdxlUnet>(&folder)?;
                // On its way up it makes maps of the sizes that it met on its way down, as diffusers does.
                (SdxlUnet::CLASS, config.in_channels, 1, None)
            }
            Pipeline::StableDiffusion3 => {
                let config = load_diffusers_config::<Sd3>(&folder)?;
                let most = config.pos_embed_max_size * config.patch_size;
                let unit = config.patch_size;
                (Sd3::CLASS, config.in_channels, unit, Some(most))
            }
            Pipeline::ZImage => {
                let config = load_diffusers_config::<ZImage>(&folder)?;
                let unit = config.all_patch_size.first().copied().unwrap_or(1);
                // Ours are computed as needed, but diffusers draws nothing larger.
                let places = config.axes_lens.iter().skip(1).min();
                let most = places.map(|places| places * unit);
                (ZImage::CLASS, config.in_channels, unit, most)
            }
        };
        if channels != vae.latent_channels {
            return Err(ModelError::Sizes {
                network: class,
                reason: format!(
                    "it reads latents of {channels} channels, and the pipeline's `vae` makes {}: they are of different models",
                    vae.latent_channels
                ),
            });
        }
        let pixels = vae.downsampling();
        Ok(Self {
            step: (pixels * unit).max(1),
            most: most.map(|most| most * pixels),
        })
    }

    /// The sides nearest to `side` that can be made: one, itself, if it can.
    pub fn nearest(&self, side: i64) -> Vec<i64> {
        let most = self
            .most
            .map_or(i64::MAX, |most| most / self.step * self.step);
        let below = side / self.step * self.step;
        let above = if below == side {
            below
        } else {
            below + self.step
        };
        let mut sides = vec![below.clamp(self.step, most), above.clamp(self.step, most)];
        sides.dedup();
        sides
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_sides() {
        let sides = ImageSides {
            step: 16,
            most: Some(3080),
        };
        for (side, nearest) in [
            (1024, &[1024][..]),
            (1000, &[992, 1008]),
            (7, &[16]),
            (3079, &[3072]),
            (5000, &[3072]),
        ] {
            assert_eq!(sides.nearest(side), nearest, "{side}");
        }
        let sides = ImageSides {
            step: 32,
            most: None,
        };
        assert_eq!(sides.nearest(1000), [992, 1024]);
    }
}
