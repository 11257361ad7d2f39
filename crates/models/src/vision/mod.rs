//! Published networks that look at images: the towers behind rewards, and LPIPS. All of them are frozen.
//!
//! `tests/parity/vision.rs` compares each with its reference.

mod blip;
mod clip;
mod dino;
mod lpips;
mod open_clip;
mod pair;
mod rating_head;
mod vit_block;

use dmdr_tensor::{Kind, Tensor};

pub use self::{
    blip::{BlipConfig, BlipRating},
    clip::{ClipVision, ClipVisionConfig},
    dino::{DinoClassifier, DinoConfig},
    lpips::{Lpips, LpipsTrunk},
    open_clip::from_open_clip,
    pair::{ClipPair, ClipPairConfig},
    rating_head::RatingHead,
};

/// `x [B, E]`, each row over its length.
fn unit(x: &Tensor) -> Tensor {
    let squares = x.square();
    let length = squares
        .sum_dim_intlist(&[-1i64][..], true, Kind::Float)
        .sqrt();
    x / length.clamp_min(1e-12)
}
