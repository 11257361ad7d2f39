//! What happens to good images on the way to the judge: blur, noise, compression, a change of scale.

use dmdr_image::Image;
use image::{ExtendedColorType, ImageEncoder, ImageFormat, codecs::jpeg::JpegEncoder};
use rand_distr::{Distribution, StandardNormal};

use crate::random::{Stream, generator};

/// A disturbance that leaves an image's content as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Disturbance {
    /// Gaussian blur; standard deviation in pixels.
    Blur(f32),
    /// Gaussian noise per channel; standard deviation in units of `[0, 1]`.
    Noise(f32),
    /// JPEG without chroma subsampling; quality 1 to 100.
    Jpeg(u8),
    /// Enlarged by this factor around the centre (bilinear), then cut off or filled up with the border.
    Scale(f32),
    /// Moved right and down by these parts of a pixel (bilinear).
    Shift(f32, f32),
}

impl std::fmt::Display for Disturbance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Blur(sigma) => write!(f, "blur {sigma} px"),
            Self::Noise(sigma) => write!(f, "noise {sigma}"),
            Self::Jpeg(quality) => write!(f, "JPEG {quality}"),
            Self::Scale(factor) => write!(f, "scale {factor}"),
            Self::Shift(right, down) => write!(f, "shift {right}, {down} px"),
        }
    }
}

impl Disturbance {
    /// The disturbed image; `seed` only matters for noise.
    pub fn apply(&self, image: &Image, seed: u64) -> Image {
        match *self {
            Self::Blur(sigma) => blur(image, sigma),
            Self::Noise(sigma) => {
                let mut rng = generator(Stream::Noise, [seed]);
                let mut noisy = image.clone();
                for value in &mut noisy.data {
                    let noise: f32 = StandardNormal.sample(&mut rng);
                    *value = (*value + sigma * noise).clamp(0.0, 1.0);
                }
                noisy
            }
            Self::Jpeg(quality) => compress(image, quality),
            Self::Scale(factor) => {
                let (x, y) = (
                    (image.width as f32 - 1.0) / 2.0,
                    (image.height as f32 - 1.0) / 2.0,
                );
                resample(image, |at| {
                    (x + (at.0 - x) / factor, y + (at.1 - y) / factor)
                })
            }
            Self::Shift(right, down) => resample(image, |at| (at.0 - right, at.1 - down)),
        }
    }
}

fn blur(image: &Image, sigma: f32) -> Image {
    let reach = (3.0 * sigma).ceil() as isize;
    let kernel: Vec<f32> = (-reach..=reach)
        .map(|d| (-((d * d) as f32) / (2.0 * sigma * sigma)).exp())
        .collect();
    let sum: f32 = kernel.iter().sum();
    let along = |source: &Image, step: (isize, isize)| {
        let mut target = source.clone();
        for y in 0..source.height {
            for x in 0..source.width {
                let mut color = [0.0; 3];
                for (weight, d) in kernel.iter().zip(-reach..=reach) {
                    let pixel =
                        border_pixel(source, x as isize + d * step.0, y as isize + d * step.1);
                    for channel in 0..3 {
                        color[channel] += weight / sum * pixel[channel];
                    }
                }
                target.set_pixel(x, y, color);
            }
        }
        target
    };
    along(&along(image, (1, 0)), (0, 1))
}

/// The pixel, or the nearest one for places outside.
fn border_pixel(image: &Image, x: isize, y: isize) -> [f32; 3] {
    image.pixel(
        x.clamp(0, image.width as isize - 1) as usize,
        y.clamp(0, image.height as isize - 1) as usize,
    )
}

/// Bilinear; `source` tells where the pixel at a place comes from.
fn resample(image: &Image, source: impl Fn((f32, f32)) -> (f32, f32)) -> Image {
    let mut target = image.clone();
    for y in 0..image.height {
        for x in 0..image.width {
            let (from_x, from_y) = source((x as f32, y as f32));
            let (left, top) = (from_x.floor(), from_y.floor());
            let (right_part, bottom_part) = (from_x - left, from_y - top);
            let corner =
                |dx: isize, dy: isize| border_pixel(image, left as isize + dx, top as isize + dy);
            let corners = [corner(0, 0), corner(1, 0), corner(0, 1), corner(1, 1)];
            let mix = |a: f32, b: f32, part: f32| a + part * (b - a);
            let color = std::array::from_fn(|c| {
                let above = mix(corners[0][c], corners[1][c], right_part);
                mix(
                    above,
                    mix(corners[2][c], corners[3][c], right_part),
                    bottom_part,
                )
            });
            target.set_pixel(x, y, color);
        }
    }
    target
}

fn compress(image: &Image, quality: u8) -> Image {
    let mut bytes = Vec::new();
    let (width, height) = (image.width as u32, image.height as u32);
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .write_image(&image.to_rgb8(), width, height, ExtendedColorType::Rgb8)
        .expect("writing to memory does not fail");
    let decoded = image::load_from_memory_with_format(&bytes, ImageFormat::Jpeg)
        .expect("what was just written is valid")
        .to_rgb8();
    Image::from_rgb8(image.width, image.height, decoded.as_raw()).expect("the size is the same")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Image {
        let mut image = Image::filled(16, 16, [0.25; 3]);
        for at in 0..16 {
            image.set_pixel(5 + at % 4, 6 + at / 4, [0.75, 0.5, 0.25]);
        }
        image
    }

    fn mean(image: &Image) -> f32 {
        image.data.iter().sum::<f32>() / image.data.len() as f32
    }

    #[test]
    fn every_disturbance_keeps_size_and_brightness_and_is_reproducible() {
        let all = [
            Disturbance::Blur(0.6),
            Disturbance::Noise(0.02),
            Disturbance::Jpeg(85),
            Disturbance::Scale(1.05),
            Disturbance::Shift(0.5, 0.25),
        ];
        for disturbance in all {
            let disturbed = disturbance.apply(&image(), 3);
            assert_eq!((disturbed.width, disturbed.height), (16, 16));
            assert!(
                (mean(&disturbed) - mean(&image())).abs() < 5e-3,
                "{disturbance}"
            );
            assert_ne!(disturbed, image(), "{disturbance}");
            assert_eq!(disturbed, disturbance.apply(&image(), 3), "{disturbance}");
        }
    }

    #[test]
    fn a_whole_shift_moves_pixels() {
        let moved = Disturbance::Shift(2.0, 1.0).apply(&image(), 0);
        assert_eq!(moved.to_rgb8()[3 * (7 * 16 + 7)..][..3], [191, 128, 64]);
    }
}
