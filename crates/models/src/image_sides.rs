//! [`ImageSides`]: which sides of images a published pipeline can make.

use crate::{AutoencoderKl, ModelError, Pipeline, load_diffusers_config};

/// Sides of images in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageSides {
    /// They are multiples of it: what a latent pixel covers, times a patch where there are some.
    pub step: i64,
    /// The largest, where positions end.
    pub most: Option<i64>,
}

impl ImageSides {
    /// Those of `pipeline`, from the configs of its network and its autoencoder.
    ///
    /// # Errors
    /// A config that cannot be read, or two that do not fit together.
    pub fn of(pipeline: &dyn Pipeline) -> Result<Self, ModelError> {
        let index = pipeline.index();
        let vae = load_diffusers_config::<AutoencoderKl>(&index.folder().join("vae"))?;
        let channels = pipeline.in_channels();
        if channels != vae.latent_channels {
            return Err(ModelError::Sizes {
                network: index.family().network_class(),
                reason: format!(
                    "it reads latents of {channels} channels, and the pipeline's `vae` makes {}: they are of different models",
                    vae.latent_channels
                ),
            });
        }
        let pixels = vae.downsampling();
        Ok(Self {
            step: (pixels * pipeline.patch_size()).max(1),
            most: pipeline.longest_side().map(|most| most * pixels),
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
