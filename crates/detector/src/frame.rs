//! A picture in a model's input and the way back, as mmdetection's test pipeline has it: resized with its aspect, as large
//! as fits; normalised; zeros to the right and below.
//!
//! Resizing is bilinear between pixel centres without a filter, rounded to 8 bits, like OpenCV's `INTER_LINEAR`, whose own
//! arithmetic in whole numbers may differ by one step of 255. Where a model leaves its size open, a picture becomes as
//! large as fits 1333 x 800 or 800 x 1333, mmdetection's scale for COCO, and its input a multiple of 32.
//! Masks come back by the same resizing and a threshold of one half; mmdetection resizes before its threshold.

use dmdr_world::Image;

/// Mean and deviation of red, green and blue in `[0, 255]`.
const MEAN: [f32; 3] = [123.675, 116.28, 103.53];
const DEVIATION: [f32; 3] = [58.395, 57.12, 57.375];
/// The longer and the shorter side where a model does not say.
const SCALE: [f64; 2] = [1333.0, 800.0];
const MULTIPLE: usize = 32;

/// Where a picture lies in a model's input: in its left upper corner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Height and width of the picture.
    picture: [usize; 2],
    /// Height and width of what is left of it in the input.
    resized: [usize; 2],
    /// Height and width of the input.
    input: [usize; 2],
}

impl Frame {
    /// A picture of `[height, width]` in an input of `[height, width]`, each `None` where the model leaves it open.
    pub fn new(picture: [usize; 2], input: [Option<usize>; 2]) -> Self {
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
        }
    }

    /// `[height, width]` of the input.
    pub fn input(&self) -> [usize; 2] {
        self.input
    }

    /// The input, `[3, height, width]`.
    pub fn pixels(&self, picture: &Image) -> Vec<f32> {
        let [height, width] = self.input;
        let area = picture.width * picture.height;
        let mut pixels = vec![0.0; 3 * height * width];
        for (channel, plane) in pixels.chunks_exact_mut(height * width).enumerate() {
            let from = &picture.data[channel * area..(channel + 1) * area];
            let from: Vec<f32> = from.iter().map(|value| value * 255.0).collect();
            let resized = resize(&from, self.picture, self.resized);
            let rows = resized.chunks_exact(self.resized[1]);
            for (row, to) in rows.zip(plane.chunks_exact_mut(width)) {
                for (value, to) in row.iter().zip(to) {
                    *to = (value.round() - MEAN[channel]) / DEVIATION[channel];
                }
            }
        }
        pixels
    }

    /// A box of the input in the picture, within its borders.
    pub fn bounds(&self, bounds: [f32; 4]) -> [f32; 4] {
        let mut found = bounds;
        for (place, value) in found.iter_mut().enumerate() {
            let axis = 1 - place % 2;
            let factor = self.resized[axis] as f32 / self.picture[axis] as f32;
            *value = (*value / factor).clamp(0.0, self.picture[axis] as f32);
        }
        found
    }

    /// A mask of the input, `[height, width]` in `[0, 1]`, in the picture.
    pub fn mask(&self, values: &[f32]) -> Vec<bool> {
        let [height, width] = self.resized;
        let rows = values.chunks_exact(self.input[1]).take(height);
        let inner: Vec<f32> = rows.flat_map(|row| &row[..width]).copied().collect();
        let values = resize(&inner, self.resized, self.picture);
        values.into_iter().map(|value| value >= 0.5).collect()
    }
}

/// `from [height, width]` at the size `to`, bilinear between the centres of pixels; beyond the outer ones they go on.
fn resize(from: &[f32], [height, width]: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let columns: Vec<_> = (0..to[1]).map(|at| neighbours(at, width, to[1])).collect();
    let mut found = Vec::with_capacity(to[0] * to[1]);
    for at in 0..to[0] {
        let (above, below, down) = neighbours(at, height, to[0]);
        let [above, below] = [above, below].map(|row| &from[row * width..(row + 1) * width]);
        for &(left, right, across) in &columns {
            let mix = |row: &[f32]| row[left] + (row[right] - row[left]) * across;
            found.push(mix(above) + (mix(below) - mix(above)) * down);
        }
    }
    found
}

/// The two pixels of a side of `from` between which pixel `at` of `to` lies, and how far on the way.
fn neighbours(at: usize, from: usize, to: usize) -> (usize, usize, f32) {
    let center = (at as f64 + 0.5) * from as f64 / to as f64 - 0.5;
    let center = center.clamp(0.0, (from - 1) as f64);
    let first = center as usize;
    (
        first,
        (first + 1).min(from - 1),
        (center - first as f64) as f32,
    )
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
        let pixels = Frame::new([2, 4], [Some(8), Some(8)]).pixels(&picture);
        let at = |channel: usize, y: usize, x: usize| pixels[channel * 64 + y * 8 + x];
        assert!((at(0, 3, 7) - (255.0 - 123.675) / 58.395).abs() < 1e-5);
        assert!((at(1, 0, 0) + 116.28 / 57.12).abs() < 1e-5);
        // 103.53 becomes 104 in 8 bits.
        assert!((at(2, 0, 0) - 0.47 / 57.375).abs() < 1e-5);
        assert!(pixels[4 * 8..8 * 8].iter().all(|&value| value == 0.0));
    }

    #[test]
    fn a_ramp_stays_a_ramp_between_centres() {
        let doubled = resize(&[0.0, 4.0, 8.0], [1, 3], [1, 6]);
        assert_eq!(doubled, [0.0, 1.0, 3.0, 5.0, 7.0, 8.0]);
        let halved = resize(&[0.0, 2.0, 4.0, 6.0], [4, 1], [2, 1]);
        assert_eq!(halved, [1.0, 5.0]);
    }

    #[test]
    fn boxes_and_masks_come_back() {
        let frame = Frame::new([4, 8], [Some(16), Some(16)]);
        assert_eq!(frame.resized, [8, 16]);
        assert_eq!(
            format!("{:?}", frame.bounds([2.0, 4.0, 6.0, 99.0])),
            "[1.0, 2.0, 3.0, 4.0]",
            "halved and cut off"
        );
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
