//! How an image of any shape becomes a square.

use dmdr_tensor::Tensor;

use super::bicubic;

/// How an image of any shape becomes a square of a tower's size. For square images all are the same resize.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Both sides to the size, whatever the aspect.
    Squash,
    /// The shorter side to the size, then the middle. An odd margin is divided as by torchvision's `CenterCrop`: the half
    /// pixel goes to the even number.
    Crop,
    /// The same, an odd margin divided as by transformers' `CLIPImageProcessor`: the half pixel is dropped.
    CropDown,
    /// The longer side to the size, the rest black.
    Pad,
}

impl Fit {
    /// As in reports.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Squash => "squash",
            Self::Crop => "crop",
            Self::CropDown => "crop, rounded down",
            Self::Pad => "pad",
        }
    }

    /// Matrices of the rows and of the columns, each `[size, side]`: what every pixel of the result takes from the image.
    /// A pixel of the padding takes nothing.
    pub(super) fn matrices(self, sides: [i64; 2], size: i64) -> [Tensor; 2] {
        let [height, width] = sides;
        [[height, width], [width, height]].map(|[side, other]| {
            let (resized, first) = self.place(side, other, size);
            matrix(side, resized, first, size)
        })
    }

    /// What `side` is resized to beside a side `other`, and the first of those pixels that is in the result; negative
    /// where there is padding before them.
    fn place(self, side: i64, other: i64, size: i64) -> (i64, i64) {
        match self {
            Self::Squash => (size, 0),
            Self::Crop | Self::CropDown => {
                let resized = size * side / side.min(other);
                let margin = resized - size;
                let first = if self == Self::Crop {
                    (margin as f64 / 2.0).round_ties_even() as i64
                } else {
                    margin / 2
                };
                (resized, first)
            }
            Self::Pad => {
                let scale = size as f64 / side.max(other) as f64;
                let resized = (side as f64 * scale).round_ties_even() as i64;
                (resized, -((size - resized) / 2))
            }
        }
    }
}

/// Rows `first ..` of the matrix that resizes `side` pixels to `resized`, `[size, side]`, zeros beyond its ends.
fn matrix(side: i64, resized: i64, first: i64, size: i64) -> Tensor {
    let mut values = vec![0f32; (size * side) as usize];
    for (row, index) in values.chunks_exact_mut(side as usize).zip(first..) {
        if (0..resized).contains(&index) {
            bicubic::weights(row, resized, index);
        }
    }
    Tensor::from_slice(&values).reshape([size, side])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_the_references() {
        // 640 x 427: the longer side becomes int(224 * 640 / 427) = 335, a margin of 111.
        assert_eq!(Fit::Squash.place(640, 427, 224), (224, 0));
        assert_eq!(Fit::Crop.place(640, 427, 224), (335, 56));
        assert_eq!(Fit::CropDown.place(640, 427, 224), (335, 55));
        assert_eq!(Fit::Crop.place(427, 640, 224), (224, 0));
        // round(427 * 224 / 640) = round(149.45) = 149, of 75 pixels 37 before.
        assert_eq!(Fit::Pad.place(427, 640, 224), (149, -37));
        assert_eq!(Fit::Pad.place(640, 427, 224), (224, 0));
        // Python rounds 2.5 to 2.
        assert_eq!(Fit::Pad.place(5, 16, 8), (2, -3));
    }
}
