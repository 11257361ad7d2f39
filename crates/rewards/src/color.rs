//! The colour of an object in an image, as GenEval (arXiv 2310.11513) asks CLIP: `color_classification` of the official
//! `evaluation/evaluate_images.py`, with the zero-shot classifier of `clip_benchmark`. Towers there: OpenAI's ViT-L/14.
//!
//! Deviation: f32 instead of half precision on a GPU.

use std::{collections::HashMap, path::Path};

use dmdr_batches::images_to_tensor;
use dmdr_image::Image;
use dmdr_models::{ClipPair, ClipPairConfig, TextTokenizer};
use dmdr_tensor::{Kind, Runtime, Tensor, no_grad_guard};

use crate::{
    RewardError, captions,
    preprocess::{Fit, Preprocess},
};

/// What is painted where the object is not: #999.
const BLANK: [f32; 3] = [153.0 / 255.0; 3];
/// The longest side of a piece, in pixels: a box that far beyond an image is a mistake.
const LONGEST: f32 = 16_384.0;

/// Where an object is.
#[derive(Clone, Copy, Debug)]
pub struct Cutout<'a> {
    /// `[left, top, right, bottom]` in pixels, y downwards.
    pub bounds: [f32; 4],
    /// `[height, width]` of the image, true on the object; without one nothing is painted over.
    pub mask: Option<&'a [bool]>,
}

/// Towers that choose among colours.
#[derive(Debug)]
pub struct ColorClassifier {
    pair: ClipPair,
    tokenizer: TextTokenizer,
    preprocess: Preprocess,
    colors: Vec<String>,
    /// Unit embeddings `[colours, E]` by object.
    texts: HashMap<String, Tensor>,
}

impl ColorClassifier {
    /// `pair` and its tokenizer choose among `colors`.
    pub fn new(pair: ClipPair, tokenizer: TextTokenizer, colors: Vec<String>) -> Self {
        Self {
            preprocess: Preprocess::clip(Fit::Crop, pair.image().config().image_size),
            pair,
            tokenizer,
            colors,
            texts: HashMap::new(),
        }
    }

    /// OpenAI's ViT-L/14 with its weights, a folder as transformers saves it, which states its own sizes, or one file under
    /// open_clip's names, and CLIP's tokenizer in the folder `tokenizer`.
    ///
    /// # Errors
    /// Files that cannot be read or do not fit.
    pub fn load(
        weights: &Path,
        tokenizer: &Path,
        runtime: Runtime,
        colors: Vec<String>,
    ) -> Result<Self, RewardError> {
        let config = ClipPairConfig::l_14();
        let (pair, tokenizer) = captions::load(config, weights, tokenizer, true, runtime)?;
        Ok(Self::new(pair, tokenizer, colors))
    }

    /// 100 times the cosines of the `object` that `cutout` shows with the names of the colours, in their order. The largest
    /// is the answer.
    ///
    /// # Errors
    /// A box of no pixels, a mask of another size than the image.
    pub fn logits(
        &mut self,
        image: &Image,
        cutout: Cutout,
        object: &str,
    ) -> Result<Vec<f64>, RewardError> {
        let _guard = no_grad_guard();
        let piece = cut_out(image, cutout)?;
        let texts = self.texts(object)?;
        let pixels = self
            .preprocess
            .forward_file(&images_to_tensor(&[piece], texts.device()));
        let cosines = texts.matmul(&self.pair.embed_image(&pixels).get(0));
        let logits = (cosines * 100.0).to_kind(Kind::Double);
        Ok(Vec::try_from(logits).expect("one a colour"))
    }

    /// Unit embeddings `[colours, E]` of what each colour is called on `object`: the mean over three sentences.
    fn texts(&mut self, object: &str) -> Result<Tensor, RewardError> {
        if let Some(texts) = self.texts.get(object) {
            return Ok(texts.shallow_clone());
        }
        let sentences: Vec<String> = self
            .colors
            .iter()
            .flat_map(|color| {
                [
                    format!("a photo of a {color} {object}"),
                    format!("a photo of a {color}-colored {object}"),
                    format!("a photo of a {color} object"),
                ]
            })
            .collect();
        let sentences: Vec<&str> = sentences.iter().map(String::as_str).collect();
        let embedded = self
            .pair
            .embed_text(&self.tokenizer.encode(&sentences)?.ids);
        let mean = embedded
            .reshape([self.colors.len() as i64, 3, -1])
            .mean_dim(1, false, Kind::Float);
        let texts = &mean / mean.norm_scalaropt_dim(2, 1, true);
        self.texts.insert(object.to_owned(), texts.shallow_clone());
        Ok(texts)
    }
}

/// The piece of `image` that shows the object. As PIL's `crop` does, a bound is rounded to the nearest whole pixel, halves
/// to the even one, and what lies beyond the image is black.
fn cut_out(image: &Image, cutout: Cutout) -> Result<Image, RewardError> {
    let wrong = |reason: String| RewardError::Cutout { reason };
    let bounds = cutout.bounds.map(f32::round_ties_even);
    let [left, top, right, bottom] = bounds;
    let sides = [right - left, bottom - top];
    if bounds.iter().any(|bound| !bound.is_finite())
        || sides.iter().any(|side| !(1.0..=LONGEST).contains(side))
    {
        let [left, top, right, bottom] = cutout.bounds;
        return Err(wrong(format!(
            "the box [{left}, {top}, {right}, {bottom}] has no pixels, or more than {LONGEST} in a row"
        )));
    }
    let (width, height) = (image.width, image.height);
    if let Some(mask) = cutout.mask
        && mask.len() != width * height
    {
        return Err(wrong(format!(
            "a mask has {} pixels, its image {height} x {width} (height x width)",
            mask.len()
        )));
    }
    let mut piece = Image::filled(sides[0] as usize, sides[1] as usize, [0.0; 3]);
    for y in 0..piece.height {
        for x in 0..piece.width {
            let (from_x, from_y) = (left as i64 + x as i64, top as i64 + y as i64);
            let (Ok(from_x), Ok(from_y)) = (usize::try_from(from_x), usize::try_from(from_y))
            else {
                continue;
            };
            if from_x >= width || from_y >= height {
                continue;
            }
            let is_object = cutout.mask.is_none_or(|mask| mask[from_y * width + from_x]);
            let color = if is_object {
                image.pixel(from_x, from_y)
            } else {
                BLANK
            };
            piece.set_pixel(x, y, color);
        }
    }
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> Image {
        let data = (0..3 * 4 * 5).map(|value| value as f32 / 100.0).collect();
        Image::from_chw(5, 4, data).expect("sized")
    }

    fn bits(image: &Image, x: usize, y: usize) -> [u32; 3] {
        image.pixel(x, y).map(f32::to_bits)
    }

    #[test]
    fn bounds_round_halves_to_even_and_the_rest_is_black() {
        let piece = |bounds| cut_out(&ramp(), Cutout { bounds, mask: None }).expect("pixels");
        let inner = piece([0.5, 1.5, 2.5, 3.49]);
        assert_eq!((inner.width, inner.height), (2, 1));
        assert_eq!(bits(&inner, 0, 0), bits(&ramp(), 0, 2));
        let beyond = piece([-1.0, -1.0, 1.0, 1.0]);
        assert_eq!(bits(&beyond, 0, 1), [0; 3]);
        assert_eq!(bits(&beyond, 1, 1), bits(&ramp(), 0, 0));
    }

    #[test]
    fn what_is_not_the_object_is_grey() {
        let mut mask = vec![false; 20];
        mask[6] = true;
        let cutout = Cutout {
            bounds: [0.0, 0.0, 3.0, 3.0],
            mask: Some(&mask),
        };
        let piece = cut_out(&ramp(), cutout).expect("pixels");
        assert_eq!(bits(&piece, 1, 1), bits(&ramp(), 1, 1));
        assert_eq!(bits(&piece, 2, 1), [0.6f32.to_bits(); 3]);
    }

    #[test]
    fn what_cannot_be_cut_out_is_refused() {
        for (bounds, len, expected) in [
            ([1.0, 1.0, 1.4, 3.0], 20, "no pixels"),
            ([3.0, 1.0, 1.0, 3.0], 20, "no pixels"),
            ([0.0, 0.0, f32::NAN, 3.0], 20, "no pixels"),
            ([0.0, 0.0, 1e9, 3.0], 20, "16384 in a row"),
            ([0.0, 0.0, 2.0, 3.0], 19, "19 pixels, its image 4 x 5"),
        ] {
            let mask = vec![true; len];
            let mask = Some(&mask[..]);
            let error = cut_out(&ramp(), Cutout { bounds, mask }).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
