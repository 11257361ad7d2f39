//! From generated images to what a published tower reads: resize, crop or pad, normalise. All of it is linear and exact,
//! so its gradient is its transpose: one product with a matrix for each axis, and no rounding to 8 bits.
//!
//! Equal to the references' transforms on float tensors. On files they work in 8 bits, which also cuts off what the
//! bicubic filter overshoots below 0 and above 1; a reward's gradient must not lose that.

mod bicubic;
mod fit;

use std::collections::BTreeMap;

use dmdr_tensor::{Kind, Tensor};

use crate::Settings;

pub use self::fit::Fit;

/// Mean and deviation of the channels for OpenAI's CLIP, which all its descendants kept.
const CLIP: [[f32; 3]; 2] = [
    [0.481_454_66, 0.457_827_5, 0.408_210_73],
    [0.268_629_54, 0.261_302_6, 0.275_777_1],
];
/// The same of ImageNet.
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// What Inception's weights took for both, and LAION's ViT-L/14.
const HALF: [[f32; 3]; 2] = [[0.5; 3]; 2];

/// One tower's preprocessing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Preprocess {
    fit: Fit,
    size: i64,
    mean: [f32; 3],
    deviation: [f32; 3],
}

impl Preprocess {
    fn new(fit: Fit, size: i64, [mean, deviation]: [[f32; 3]; 2]) -> Self {
        Self {
            fit,
            size,
            mean,
            deviation,
        }
    }

    /// To squares of side `size`, with CLIP's normalisation.
    pub fn clip(fit: Fit, size: i64) -> Self {
        Self::new(fit, size, CLIP)
    }

    /// To squares of side `size`, with ImageNet's normalisation.
    pub fn imagenet(fit: Fit, size: i64) -> Self {
        Self::new(fit, size, IMAGENET)
    }

    /// To squares of side `size`, in `[-1, 1]`.
    pub fn half(fit: Fit, size: i64) -> Self {
        Self::new(fit, size, HALF)
    }

    /// To squares of side `size`, not normalised.
    pub fn plain(fit: Fit, size: i64) -> Self {
        Self::new(fit, size, [[0.0; 3], [1.0; 3]])
    }

    /// In words, for reports.
    pub fn describe(&self) -> Settings {
        BTreeMap::from([
            ("fit", self.fit.name().to_owned()),
            ("size", self.size.to_string()),
            ("mean", format!("{:?}", self.mean)),
            ("deviation", format!("{:?}", self.deviation)),
        ])
    }

    /// `images [B, 3, H, W]` in `[0, 1]` -> `[B, 3, size, size]`, f32.
    pub fn forward(&self, images: &Tensor) -> Tensor {
        self.through(images, |narrowed| narrowed)
    }

    /// [`Self::forward`] in the 8 bits of a file, as the references do it through PIL: after each axis, columns first, values
    /// are cut off at black and white and rounded to 1/255. Without a useful gradient; for scores to compare with published ones.
    pub fn forward_file(&self, images: &Tensor) -> Tensor {
        self.through(images, |x| (x.clamp(0.0, 1.0) * 255.0).round() / 255.0)
    }

    /// Resized by both matrices, each result through `step`, then normalised.
    fn through(&self, images: &Tensor, step: impl Fn(Tensor) -> Tensor) -> Tensor {
        let (_, _, height, width) = images.size4().expect("images are [B, C, H, W]");
        let [rows, columns] = self
            .fit
            .matrices([height, width], self.size)
            .map(|matrix| matrix.to_device(images.device()).tr());
        let narrow = step(images.to_kind(Kind::Float).matmul(&columns)); // [B, 3, H, size]
        let square = step(narrow.transpose(2, 3).matmul(&rows).transpose(2, 3));
        let channels = |values: &[f32; 3]| {
            let values = Tensor::from_slice(values).reshape([3, 1, 1]);
            values.to_device(images.device())
        };
        (square - channels(&self.mean)) / channels(&self.deviation)
    }
}

#[cfg(test)]
mod tests {
    use dmdr_tensor::{Device, reseed};

    use super::*;

    #[test]
    fn the_gradient_is_the_transpose() {
        reseed(&[1]);
        let options = (Kind::Float, Device::Cpu);
        let image = Tensor::rand([2, 3, 20, 31], options).set_requires_grad(true);
        let cotangent = Tensor::randn([2, 3, 12, 12], options);
        for fit in [Fit::Squash, Fit::Crop, Fit::CropDown, Fit::Pad] {
            let preprocess = Preprocess::clip(fit, 12);
            let product = |x: &Tensor| (preprocess.forward(x) * &cotangent).sum(Kind::Float);
            let gradient = &Tensor::run_backward(&[product(&image)], &[&image], false, false)[0];
            // Linear up to a constant: the difference of two outputs is the product of the gradient and that of the inputs.
            let other = Tensor::rand_like(&image);
            let expected = (product(&other) - product(&image)).double_value(&[]);
            let got = (gradient * (&other - &image))
                .sum(Kind::Float)
                .double_value(&[]);
            assert!(
                (got - expected).abs() < 1e-3 * expected.abs(),
                "{fit:?}: {got}, {expected}"
            );
        }
    }

    #[test]
    fn padding_is_black() {
        let white = Tensor::ones([1, 3, 10, 20], (Kind::Float, Device::Cpu));
        let padded = Preprocess::clip(Fit::Pad, 8).forward(&white);
        let red = |row: i64| padded.double_value(&[0, 0, row, 4]);
        let normalised = |value: f64| (value - f64::from(CLIP[0][0])) / f64::from(CLIP[1][0]);
        for (row, value) in [(0, 0.0), (1, 0.0), (2, 1.0), (5, 1.0), (6, 0.0), (7, 0.0)] {
            assert!(
                (red(row) - normalised(value)).abs() < 1e-6,
                "row {row}: {}",
                red(row)
            );
        }
    }
}
