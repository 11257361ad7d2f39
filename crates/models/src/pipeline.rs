//! Published text-to-image pipelines: which class a folder in diffusers' layout holds.

use std::{fs, path::Path};

use serde::Deserialize;

use crate::ModelError;

/// A pipeline that is built here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pipeline {
    /// SDXL.
    StableDiffusionXl,
    /// SD3-Medium, SD3.5-Medium and -Large.
    StableDiffusion3,
    /// Z-Image.
    ZImage,
}

/// `model_index.json`.
#[derive(Deserialize)]
struct Index {
    #[serde(rename = "_class_name")]
    class: String,
}

impl Pipeline {
    /// The pipeline in `folder`.
    ///
    /// # Errors
    /// An unreadable `model_index.json`, or one of another class.
    pub fn of(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join("model_index.json");
        let text = fs::read_to_string(&path).map_err(|source| ModelError::Read {
            path: path.clone(),
            source,
        })?;
        let index: Index = serde_json::from_str(&text).map_err(|source| ModelError::Config {
            path: path.clone(),
            source,
        })?;
        match index.class.as_str() {
            "StableDiffusionXLPipeline" => Ok(Self::StableDiffusionXl),
            "StableDiffusion3Pipeline" => Ok(Self::StableDiffusion3),
            "ZImagePipeline" => Ok(Self::ZImage),
            _ => Err(ModelError::Format {
                path,
                expected: "StableDiffusionXLPipeline, StableDiffusion3Pipeline or ZImagePipeline",
                found: index.class,
            }),
        }
    }

    /// Tokens that its encoder for long texts reads of a prompt if nothing else is said, as diffusers' argument
    /// `max_sequence_length` (0.42.1); none where there is no such encoder.
    pub fn max_sequence_length(self) -> Option<usize> {
        match self {
            Self::StableDiffusionXl => None,
            Self::StableDiffusion3 => Some(256),
            Self::ZImage => Some(512),
        }
    }

    /// Folder of the denoising network in the pipeline's.
    pub fn network(self) -> &'static str {
        match self {
            Self::StableDiffusionXl => "unet",
            Self::StableDiffusion3 | Self::ZImage => "transformer",
        }
    }
}
