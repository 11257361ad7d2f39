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
mod vit_block;

use std::{collections::BTreeMap, path::Path};

use dmdr_tensor::{Kind, Tensor, read_tensors_where};

use crate::ModelError;

pub use self::{
    blip::{BlipConfig, BlipRating},
    clip::{ClipVision, ClipVisionConfig},
    dino::{DinoClassifier, DinoConfig, DinoVision},
    inception::{Inception, InceptionFeatures},
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

/// Shapes of the tensors in the file `path` whose names `is_read` accepts.
fn shapes_where(
    path: &Path,
    is_read: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<i64>>, ModelError> {
    let tensors = read_tensors_where(path, is_read)?.into_iter();
    Ok(tensors
        .map(|(name, tensor)| (name, tensor.size()))
        .collect())
}
