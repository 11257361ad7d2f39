//! Networks, a folder a family, and the contract that every diffusion backbone meets: [`Denoiser`], [`View`], [`Conditioning`].

mod architecture;
mod attention;
mod blocks;
mod clip_block;
mod conditioning;
mod conv;
mod decoder;
mod denoiser;
mod diffusers;
mod discriminator;
mod dit;
mod exact;
mod family;
mod image_sides;
mod json;
mod layer_names;
mod layers;
mod one_file;
mod pipeline;
mod point_net;
mod sd3;
mod sdxl;
mod sit;
mod stored;
mod taps;
mod text;
mod trained_schedule;
mod vae;
mod view;
mod vision;
mod world_clip;
mod z_image;

pub use architecture::{Architecture, ClassConditional, TextConditional};
pub use clip_block::ClipActivation;
pub use conditioning::Conditioning;
pub use decoder::{Decoder, Pixels};
pub use denoiser::{Call, Denoiser};
pub use diffusers::{Diffusers, ignored_keys, load_diffusers_config};
pub use discriminator::Discriminator;
pub use dit::{Dit, DitConfig};
pub use exact::ExactMixture;
pub use family::{
    Component, FAMILIES, Family, Pipeline, component_names, family_of, open_class_conditional,
    open_text_conditional,
};
pub use image_sides::ImageSides;
pub use layer_names::Outputs;
pub use pipeline::{PipelineIndex, weights_of_part};
pub use point_net::PointNet;
pub use sd3::{QkNormalization, Sd3, Sd3Config, Sd3Text};
pub use sdxl::{DownBlockType, SdxlConfig, SdxlText, SdxlUnet, UpBlockType};
pub use sit::{Interpolant, Sit, SitConfig};
pub use stored::{ModelError, Stored, load_config};
pub use taps::Taps;
pub use text::{
    ClipArchitecture, ClipFeatures, ClipText, ClipTextConfig, EmbeddingCache, Qwen3, Qwen3Config,
    RopeParameters, T5Config, T5Encoder, TextEncoder, TextTokenizer, Tokens, Transformers,
    load_transformers_config,
};
pub use trained_schedule::TrainedSchedule;
pub use vae::{AutoencoderKl, AutoencoderKlConfig, DecoderBlockType, EncoderBlockType, Posterior};
pub use view::{Guidance, View};
pub use vision::{
    BlipConfig, BlipRating, ClipPair, ClipPairConfig, ClipVision, ClipVisionConfig, DinoClassifier,
    DinoConfig, DinoVision, Inception, InceptionFeatures, Lpips, RatingHead, from_open_clip,
};
pub use world_clip::{ClipConfig, ImageTowerConfig, TextTowerConfig, WorldClip};
pub use z_image::{ZImage, ZImageConfig, ZImageText};
