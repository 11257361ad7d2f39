//! Networks, one per file, and the contract every diffusion backbone meets: [`Denoiser`], [`View`], [`Conditioning`].

mod attention;
mod clip;
mod conditioning;
mod denoiser;
mod dit;
mod layers;
mod stored;
mod view;

pub use clip::{ClipConfig, ImageTowerConfig, TextTowerConfig, WorldClip};
pub use conditioning::Conditioning;
pub use denoiser::{Call, Denoiser};
pub use dit::{Dit, DitConfig, Prediction};
pub use stored::{ModelError, Stored, load_config};
pub use view::{Guidance, View};
