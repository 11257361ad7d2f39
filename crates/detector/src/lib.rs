//! An object detector as an ONNX file, run by an ONNX Runtime that is found when it is needed.
//!
//! A model has one of three interfaces, told by names, shapes and numbers of its inputs and outputs before any picture
//! is run:
//!
//! | | outputs |
//! |---|---|
//! | mmdeploy's end-to-end exports of mmdetection (`end_to_end`) | `dets` `[1, N, 5]`, `labels` `[1, N]`, perhaps `masks` |
//! | YOLOX's raw output (`yolox`) | one, `[1, N, 85]` |
//! | Mask2Former's queries, as transformers has them (`mask2former`) | `class_queries_logits`, `masks_queries_logits` |
//!
//! The file of each says what a picture becomes and how objects come out of the answer. Classes are COCO's 80, from 0.

mod end_to_end;
mod error;
mod frame;
mod interface;
mod mask2former;
mod model;
mod nms;
mod port;
mod processor;
mod resize;
mod runtime;
mod yolox;

pub use error::{DetectorError, LIBRARY_VARIABLE};
pub use runtime::Detector;

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
