//! Published networks that look at images: the towers behind rewards, LPIPS, and FID's Inception. All of them are frozen.
//!
//! `tests/parity/vision.rs` compares each with its reference.

mod blip;
mod clip;
mod dino;
mod inception;
mod lpips;
mod open_clip;
mod pair;
mod rating_head;
mod shapes;
mod unit;
mod vit_block;

pub use self::{
    blip::{BlipConfig, BlipRating},
    clip::{ClipVision, ClipVisionConfig},
    dino::{DinoClassifier, DinoConfig, DinoVision},
    inception::{Inception, InceptionFeatures},
    lpips::Lpips,
    open_clip::from_open_clip,
    pair::{ClipPair, ClipPairConfig},
    rating_head::RatingHead,
};
