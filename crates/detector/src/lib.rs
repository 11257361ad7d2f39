//! An object detector as an ONNX file, run by an ONNX Runtime that is found when it is needed.
//!
//! The model is one that takes a prepared picture and gives finished objects, as mmdeploy's end-to-end exports of
//! mmdetection's instance segmentation do (`export_postprocess_mask = True` where there are masks):
//!
//! | | name | shape | numbers |
//! |---|---|---|---|
//! | input | `input` | `[1, 3, H, W]` | f32, RGB, less 123.675, 116.28, 103.53, over 58.395, 57.12, 57.375 |
//! | output | `dets` | `[1, N, 5]` | f32, left, top, right, bottom in pixels of the input, confidence in `[0, 1]` |
//! | output | `labels` | `[1, N]` | i64 or i32, classes from 0; below 0 is no object |
//! | output, optional | `masks` | `[1, N, H, W]` | bool, u8, or f32 whose objects are at least 0.5 |
//!
//! `H` and `W` may be left open. Names and shapes are checked before any picture is run. What happens to a picture:
//! [`Frame`].

mod error;
mod frame;
mod interface;
mod runtime;

pub use error::DetectorError;
pub use frame::Frame;
pub use runtime::{Detector, LIBRARY_VARIABLE};

/// One thing found in a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// Its class, from 0.
    pub label: usize,
    /// `[left, top, right, bottom]` in pixels of the picture, y downwards, within its borders.
    pub bounds: [f32; 4],
    /// Confidence in `[0, 1]`.
    pub score: f32,
    /// `[height, width]` of the picture, true on the object, if the model has masks.
    pub mask: Option<Vec<bool>>,
}
