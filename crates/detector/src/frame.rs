//! A picture in a model's input and the way back.
//!
//! | | resized | numbers | to the right and below |
//! |---|---|---|---|
//! | [`Frame::new`], mmdetection's test pipeline | with its aspect, as large as fits | RGB less mean over deviation | 0 |
//! | [`Frame::letterbox`], YOLOX | the same, sides cut to whole pixels | BGR, 0 to 255 | 114 |
//! | [`Frame::stretched`], Mask2Former of transformers | to the input's size | RGB less mean over deviation | |
//!
//! The first two resize in 8 bits as OpenCV's `INTER_LINEAR` does, without a filter; the third as PIL does, with one. Where
//! a model of mmdetection leaves its size open, a picture becomes as large as fits 1333 x 800 or 800 x 1333,
//! mmdetection's scale for COCO, and its input a multiple of 32. Masks come back by the same resizing and a threshold of one half; mmdetection resizes before its threshold.

use dmdr_image::Image;

use crate::resize::{bilinear, filtered, opencv};

/// The longer and the shorter side where a model does not say.
const SCALE: [f64; 2] = [1333.0, 800.0];
const MULTIPLE: usize = 32;

/// Where a picture lies in a model's input: in its left upper corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Frame {
    /// Height and width of the picture.
    picture: [usize; 2],
    /// Height and width of what is left of it in the input.
    resized: [usize; 2],
    /// Height and width of the input.
    input: [usize; 2],
    /// Pixels of the input for one of the picture, down and across.
    factor: [f32; 2],
}

/// How a picture's numbers become a model's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pixels {
    /// Whether all pixels that become one are looked at.
    pub(crate) is_filtered: bool,
    /// Which of red, green and blue each plane holds.
    pub(crate) channels: [usize; 3],
    /// What each plane is lessened by, in `[0, 255]`.
    pub(crate) mean: [f32; 3],
    /// What it is divided by then.
    pub(crate) deviation: [f32; 3],
    /// What lies beyond the picture.
    pub(crate) padding: f32,
}

impl Pixels {
    /// mmdetection's for networks that start from ImageNet.
    pub(crate) const MMDETECTION: Self = Self {
        is_filtered: false,
        channels: [0, 1, 2],
        mean: [123.675, 116.28, 103.53],
        deviation: [58.395, 57.12, 57.375],
        padding: 0.0,
    };
    /// YOLOX's since its version 0.1.1 (`preproc` in yolox/data/data_augment.py).
    pub(crate) const YOLOX: Self = Self {
        is_filtered: false,
        channels: [2, 1, 0],
        mean: [0.0; 3],
        deviation: [1.0; 3],
        padding: 114.0,
    };
}

impl Frame {
    /// A picture of `[height, width]` in an input of `[height, width]`, each `None` where the model leaves it open.
    pub(crate) fn new(picture: [usize; 2], input: [Option<usize>; 2]) -> Self {
        let [height, width] = picture.map(|side| side as f64);
        let longer_first = if height > width {
            SCALE
        } else {
            [SCALE[1], SCALE[0]]
        };
        let limit = |axis: usize| input[axis].map_or(longer_first[axis], |side| side as f64);
        let factor = (limit(0) / height).min(limit(1) / width);
        let resized = [0, 1].map(|axis| {
            let side = (picture[axis] as f64 * factor + 0.5) as usize;
            side.clamp(1, input[axis].unwrap_or(usize::MAX))
        });
        let whole = |axis: usize| resized[axis].next_multiple_of(MULTIPLE);
        Self {
            picture,
            resized,
            input: [0, 1].map(|axis| input[axis].unwrap_or_else(|| whole(axis))),
            factor: [0, 1].map(|axis| resized[axis] as f32 / picture[axis] as f32),
        }
    }

    /// A picture as large as fits `input`; its sides lose what is less than a pixel, and boxes come back by one factor.
    pub(crate) fn letterbox(picture: [usize; 2], input: [usize; 2]) -> Self {
        let [height, width] = [0, 1].map(|axis| input[axis] as f64 / picture[axis] as f64);
        let factor = height.min(width);
        let resized = [0, 1].map(|axis| {
            let side = (picture[axis] as f64 * factor) as usize;
            side.clamp(1, input[axis])
        });
        Self {
            picture,
            resized,
            input,
            factor: [factor as f32; 2],
        }
    }

    /// A picture that fills `input`.
    pub(crate) fn stretched(picture: [usize; 2], input: [usize; 2]) -> Self {
        Self {
            picture,
            resized: input,
            input,
            factor: [0, 1].map(|axis| input[axis] as f32 / picture[axis] as f32),
        }
    }

    /// `[height, width]` of the input.
    pub(crate) fn input(&self) -> [usize; 2] {
        self.input
    }

    /// The input, `[3, height, width]`.
    pub(crate) fn pixels(&self, picture: &Image, pixels: &Pixels) -> Vec<f32> {
        let [height, width] = self.input;
        let area = picture.width * picture.height;
        let resize = if pixels.is_filtered { filtered } else { opencv };
        let mut found = vec![pixels.padding; 3 * height * width];
        for (place, plane) in found.chunks_exact_mut(height * width).enumerate() {
            let channel = pixels.channels[place];
            let from = &picture.data[channel * area..(channel + 1) * area];
            let from: Vec<f32> = from.iter().map(|value| value * 255.0).collect();
            let resized = resize(&from, self.picture, self.resized);
            let rows = resized.chunks_exact(self.resized[1]);
            for (row, to) in rows.zip(plane.chunks_exact_mut(width)) {
                for (value, to) in row.iter().zip(to) {
                    *to = (value - pixels.mean[place]) / pixels.deviation[place];
                }
            }
        }
        found
    }

    /// A box of the input in pixels of the picture; it may reach beyond its borders.
    pub(crate) fn in_picture(&self, bounds: [f32; 4]) -> [f32; 4] {
        let mut found = bounds;
        for (place, value) in found.iter_mut().enumerate() {
            *value /= self.factor[1 - place % 2];
        }
        found
    }

    /// A box in pixels of the picture, cut at its borders; `None` if it has no whole pixel there.
    pub(crate) fn cut(&self, bounds: [f32; 4]) -> Option<[f32; 4]> {
        let mut found = bounds;
        for (place, value) in found.iter_mut().enumerate() {
            *value = value.clamp(0.0, self.picture[1 - place % 2] as f32);
        }
        // Whole pixels as PIL's `crop` takes them, which colours are classified by.
        let [left, top, right, bottom] = found.map(f32::round_ties_even);
        (right - left >= 1.0 && bottom - top >= 1.0).then_some(found)
    }

    /// A mask of the input, `[height, width]` in `[0, 1]`, in the picture.
    pub(crate) fn mask(&self, values: &[f32]) -> Vec<bool> {
        let [height, width] = self.resized;
        let rows = values.chunks_exact(self.input[1]).take(height);
        let inner: Vec<f32> = rows.flat_map(|row| &row[..width]).copied().collect();
        let values = bilinear(&inner, self.resized, self.picture);
        values.into_iter().map(|value| value >= 0.5).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: [Option<usize>; 2] = [None; 2];

    #[test]
    fn sizes_are_those_of_the_pipeline() {
        // mmcv.imrescale to (1333, 800), then pad_size_divisor = 32.
        for (picture, resized, input) in [
            ([512, 512], [800, 800], [800, 800]),
            ([480, 640], [800, 1067], [800, 1088]),
            ([1000, 333], [1333, 444], [1344, 448]),
            ([1, 2000], [1, 1333], [32, 1344]),
        ] {
            let frame = Frame::new(picture, OPEN);
            assert_eq!((frame.resized, frame.input), (resized, input));
        }
        let fixed = Frame::new([480, 640], [Some(320), Some(320)]);
        assert_eq!((fixed.resized, fixed.input), ([240, 320], [320, 320]));
    }

    #[test]
    fn pixels_are_normalised_and_the_rest_is_zero() {
        let picture = Image::filled(4, 2, [1.0, 0.0, 103.53 / 255.0]);
        let pixels = Frame::new([2, 4], [Some(8), Some(8)]).pixels(&picture, &Pixels::MMDETECTION);
        let at = |channel: usize, y: usize, x: usize| pixels[channel * 64 + y * 8 + x];
        assert!((at(0, 3, 7) - (255.0 - 123.675) / 58.395).abs() < 1e-5);
        assert!((at(1, 0, 0) + 116.28 / 57.12).abs() < 1e-5);
        // 103.53 becomes 104 in 8 bits.
        assert!((at(2, 0, 0) - 0.47 / 57.375).abs() < 1e-5);
        assert!(pixels[4 * 8..8 * 8].iter().all(|&value| value == 0.0));
    }

    #[test]
    fn a_letterbox_is_blue_first_on_114() {
        // int(451 * r), int(300 * r) of YOLOX's `preproc`, with r the smaller of 416 / 451 and 416 / 300.
        let frame = Frame::letterbox([300, 451], [416, 416]);
        assert_eq!(frame.resized, [276, 416]);
        let corner = frame.in_picture([416.0, 276.0, 0.0, 0.0]);
        assert!((corner[0] - 451.0).abs() < 1e-3 && (corner[1] - 299.2212).abs() < 1e-3);
        let picture = Image::filled(451, 300, [1.0, 0.0, 0.5]);
        let pixels = frame.pixels(&picture, &Pixels::YOLOX);
        let at = |channel: usize, y: usize| pixels[(channel * 416 + y) * 416];
        assert_eq!(
            [at(0, 275), at(1, 0), at(2, 0)].to_vec(),
            [128.0, 0.0, 255.0]
        );
        assert_eq!([at(0, 276), at(1, 276), at(2, 415)].to_vec(), [114.0; 3]);
        for sides in [[1, 1], [1, 2000], [2000, 1]] {
            let frame = Frame::letterbox(sides, [416, 416]);
            assert!(frame.resized.iter().all(|side| (1..=416).contains(side)));
        }
    }

    #[test]
    fn boxes_and_masks_come_back() {
        let frame = Frame::new([4, 8], [Some(16), Some(16)]);
        assert_eq!(frame.resized, [8, 16]);
        let found = frame.cut(frame.in_picture([2.0, 4.0, 6.0, 99.0]));
        assert_eq!(found, Some([1.0, 2.0, 3.0, 4.0]), "halved and cut off");
        assert_eq!(frame.cut([7.6, 0.0, 99.0, 4.0]), None, "less than a pixel");
        let mut values = vec![0.0; 16 * 16];
        for y in 2..4 {
            values[y * 16 + 4..y * 16 + 8].fill(1.0);
        }
        values[12 * 16..].fill(1.0); // in the padding
        let mask = frame.mask(&values);
        let inside: Vec<usize> = (0..32).filter(|&place| mask[place]).collect();
        assert_eq!(inside, [8 + 2, 8 + 3]);
    }
}
