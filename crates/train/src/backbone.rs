//! The diffusion network of a run, recognised from its weights.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dmdr_config::Experiment;
use dmdr_diffusion::Schedule;
use dmdr_models::{
    Conditioning, Denoiser, Dit, DitConfig, Pipeline, Sd3, Sd3Config, SdxlConfig, SdxlUnet, Sit,
    SitConfig, Stored, ZImage, ZImageConfig, load_config, load_diffusers_config,
};
use dmdr_tensor::{AdapterSpec, Kind, ParamStore};

use crate::{Family, Source, TrainError, text_encoder::check_widths};

/// Which network, of what sizes, from where.
#[derive(Debug)]
pub struct Backbone {
    sizes: Sizes,
    /// A file of one network, or its folder.
    weights: PathBuf,
    /// `[C, H, W]`.
    shape: [i64; 3],
}

#[derive(Debug)]
enum Sizes {
    Dit(DitConfig),
    Sit(SitConfig),
    Sd3(Sd3Config),
    Sdxl(SdxlConfig),
    ZImage(ZImageConfig),
}

impl Backbone {
    /// The network that `teacher.weights` names, which has to read what `source` makes.
    ///
    /// # Errors
    /// A file that is unreadable or holds another network.
    pub fn open(experiment: &Experiment, source: &Source) -> Result<Self, TrainError> {
        let file = experiment.teacher.weights.clone();
        let (sizes, weights, shape) = match source {
            Source::Emoji(emoji) => {
                let config = load_config::<Dit>(&file)?;
                check_widths("teacher.weights", &file, &config, &emoji.text)?;
                let shape = [config.channels, config.image_size, config.image_size];
                (Sizes::Dit(config), file, shape)
            }
            Source::Classes(_) => {
                let config = load_config::<Sit>(&file)?;
                let shape = [config.in_channels, config.input_size, config.input_size];
                (Sizes::Sit(config), file, shape)
            }
            Source::Published(published) => {
                let (pipeline, folder) = published.pipeline();
                let folder = folder.join(pipeline.network());
                let sizes = match pipeline {
                    Pipeline::StableDiffusionXl => {
                        Sizes::Sdxl(load_diffusers_config::<SdxlUnet>(&folder)?)
                    }
                    Pipeline::StableDiffusion3 => {
                        Sizes::Sd3(load_diffusers_config::<Sd3>(&folder)?)
                    }
                    Pipeline::ZImage => Sizes::ZImage(load_diffusers_config::<ZImage>(&folder)?),
                };
                let shape = published.latent_shape();
                check_parts(&sizes, &folder, shape, source.null())?;
                (sizes, folder, shape)
            }
        };
        Ok(Self {
            sizes,
            weights,
            shape,
        })
    }

    /// Writes a fully trained student, so that it describes itself.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save(
        &self,
        store: &ParamStore,
        path: &Path,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        match &self.sizes {
            Sizes::Dit(config) => Dit::save(store, config, path, Kind::Float, notes)?,
            Sizes::Sit(config) => Sit::save(store, config, path, Kind::Float, notes)?,
            Sizes::Sd3(_) | Sizes::Sdxl(_) | Sizes::ZImage(_) => {
                store.save(path, Kind::Float, notes)?;
            }
        }
        Ok(())
    }

    /// `[C, H, W]` of what it predicts.
    pub fn image_shape(&self) -> [i64; 3] {
        self.shape
    }
}

impl Family for Backbone {
    fn build(
        &self,
        store: &ParamStore,
        adapters: &[AdapterSpec],
    ) -> Result<Box<dyn Denoiser>, TrainError> {
        Ok(match &self.sizes {
            Sizes::Dit(config) => Box::new(Dit::new(store, adapters, config.clone())?),
            Sizes::Sit(config) => Box::new(Sit::new(store, adapters, config.clone())?),
            Sizes::Sd3(config) => Box::new(Sd3::new(store, adapters, config.clone())?),
            Sizes::Sdxl(config) => Box::new(SdxlUnet::new(store, adapters, config.clone())?),
            Sizes::ZImage(config) => Box::new(ZImage::new(store, adapters, config.clone())?),
        })
    }

    fn load(&self, store: &ParamStore) -> Result<(), TrainError> {
        match &self.sizes {
            Sizes::Dit(_) | Sizes::Sit(_) => store.load(&self.weights)?,
            Sizes::Sd3(_) | Sizes::Sdxl(_) | Sizes::ZImage(_) => {
                store.load_folder(&self.weights)?
            }
        };
        Ok(())
    }

    fn default_targets(&self) -> &'static [&'static str] {
        match &self.sizes {
            Sizes::Dit(_) => &Dit::LORA_TARGETS,
            Sizes::Sit(_) => &Sit::LORA_TARGETS,
            Sizes::Sd3(_) => &Sd3::LORA_TARGETS,
            Sizes::Sdxl(_) => &SdxlUnet::LORA_TARGETS,
            Sizes::ZImage(_) => &ZImage::LORA_TARGETS,
        }
    }

    fn schedule(&self) -> Schedule {
        match &self.sizes {
            Sizes::Sdxl(_) => Schedule::ScaledLinear,
            Sizes::Dit(_) | Sizes::Sit(_) | Sizes::Sd3(_) | Sizes::ZImage(_) => {
                Schedule::RectifiedFlow
            }
        }
    }

    /// A network of the field is large, and never trained itself while it is the base of adapters.
    fn is_compact(&self) -> bool {
        !matches!(self.sizes, Sizes::Dit(_))
    }
}

/// The network has to read latents `[C, h, w]` and a conditioning as the other parts of its pipeline make them.
fn check_parts(
    sizes: &Sizes,
    folder: &Path,
    [channels, height, width]: [i64; 3],
    cond: &Conditioning,
) -> Result<(), TrainError> {
    let (tokens, pooled) = (cond.tokens.size()[2], cond.pooled.size()[1]);
    let read = match sizes {
        Sizes::Dit(_) | Sizes::Sit(_) => return Ok(()),
        Sizes::Sd3(config) => [
            ("in_channels", config.in_channels, channels),
            ("joint_attention_dim", config.joint_attention_dim, tokens),
            (
                "pooled_projection_dim",
                config.pooled_projection_dim,
                pooled,
            ),
        ],
        Sizes::Sdxl(config) => {
            let projected = config.projection_class_embeddings_input_dim;
            let sinusoids = projected - config.pooled_dim();
            let added = pooled - SdxlUnet::NUM_SIZES + sinusoids;
            [
                ("in_channels", config.in_channels, channels),
                ("cross_attention_dim", config.cross_attention_dim, tokens),
                ("projection_class_embeddings_input_dim", projected, added),
            ]
        }
        Sizes::ZImage(config) => [
            ("in_channels", config.in_channels, channels),
            ("cap_feat_dim", config.cap_feat_dim, tokens),
            ("the number of a caption's tokens", 1, pooled),
        ],
    };
    let differs = read.iter().find(|(_, read, made)| read != made);
    let reason = if let Some((key, read, made)) = differs {
        format!("`{key}` is {read}, but the other parts of the pipeline make {made}")
    } else if let Sizes::Sd3(config) = sizes
        && height.max(width) / config.patch_size > config.pos_embed_max_size
    {
        format!(
            "`pos_embed_max_size` is {}, too few for {} patches along a side; make images smaller",
            config.pos_embed_max_size,
            height.max(width) / config.patch_size
        )
    } else {
        return Ok(());
    };
    Err(TrainError::Incompatible {
        what: folder.join("config.json").display().to_string(),
        reason,
    })
}
