//! The diffusion network of a run, recognised from its weights.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use dmdr_config::Experiment;
use dmdr_diffusion::Schedule;
use dmdr_models::{
    Denoiser, Dit, DitConfig, Pipeline, Sd3, Sd3Config, SdxlConfig, SdxlUnet, Sit, SitConfig,
    Stored, ZImage, ZImageConfig, load_config, load_diffusers_config,
};
use dmdr_tensor::{AdapterSpec, Kind, ParamStore};

use crate::{Source, TrainError, networks::check_widths};

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
                (sizes, folder, published.latent_shape())
            }
        };
        Ok(Self {
            sizes,
            weights,
            shape,
        })
    }

    /// Builds it with parameters in `store` and LoRA as `adapters` say.
    ///
    /// # Errors
    /// An adapter target that matches nothing.
    pub fn build(
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

    /// Where an adapter goes if a config does not say.
    pub fn default_targets(&self) -> &'static [&'static str] {
        match &self.sizes {
            Sizes::Dit(_) => &Dit::LORA_TARGETS,
            Sizes::Sit(_) => &Sit::LORA_TARGETS,
            Sizes::Sd3(_) => &Sd3::LORA_TARGETS,
            Sizes::Sdxl(_) => &SdxlUnet::LORA_TARGETS,
            Sizes::ZImage(_) => &ZImage::LORA_TARGETS,
        }
    }

    /// Fills `store` with the teacher's weights.
    ///
    /// # Errors
    /// Weights that do not fit the network.
    pub fn load(&self, store: &ParamStore) -> Result<(), TrainError> {
        match &self.sizes {
            Sizes::Dit(_) | Sizes::Sit(_) => store.load(&self.weights)?,
            Sizes::Sd3(_) | Sizes::Sdxl(_) | Sizes::ZImage(_) => {
                store.load_folder(&self.weights)?
            }
        };
        Ok(())
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

    /// Whether it is a network of the field: large, and never trained itself while it is the base of adapters.
    pub fn is_published(&self) -> bool {
        !matches!(self.sizes, Sizes::Dit(_))
    }

    /// Its noise schedule.
    pub fn schedule(&self) -> Schedule {
        match &self.sizes {
            Sizes::Sdxl(_) => Schedule::ScaledLinear,
            Sizes::Dit(_) | Sizes::Sit(_) | Sizes::Sd3(_) | Sizes::ZImage(_) => {
                Schedule::RectifiedFlow
            }
        }
    }

    /// `[C, H, W]` of what it predicts.
    pub fn image_shape(&self) -> [i64; 3] {
        self.shape
    }
}
