//! What the judge looks at: an image less its background, slightly smoothed.

use dmdr_image::Image;

/// Smoothing of image and templates alike, so that half a pixel of shift, noise and compression matter less.
const SMOOTHING: [f32; 3] = [0.17, 0.66, 0.17];
/// Width of the border that shows the background, in pixels.
const RING: usize = 2;
/// Largest difference per channel of a pixel that refines the estimate of the background.
const SIMILAR: f32 = 0.12;

/// Planes of equal size, row by row.
#[derive(Debug, Clone)]
pub(crate) struct Planes<const N: usize> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) data: [Vec<f32>; N],
}

impl<const N: usize> Planes<N> {
    /// Zeros.
    pub(crate) fn new(width: usize, height: usize) -> Self {
        Self {
            width,
            height,
            data: std::array::from_fn(|_| vec![0.0; width * height]),
        }
    }

    /// Smooths every plane in both directions; outside is zero.
    #[must_use]
    pub(crate) fn smoothed(&self) -> Self {
        let (width, height) = (self.width, self.height);
        let along =
            |plane: &[f32], step: usize, place: &dyn Fn(usize) -> (usize, usize)| -> Vec<f32> {
                (0..plane.len())
                    .map(|at| {
                        let (position, length) = place(at);
                        let before = if position > 0 { plane[at - step] } else { 0.0 };
                        let after = if position + 1 < length {
                            plane[at + step]
                        } else {
                            0.0
                        };
                        SMOOTHING[0] * before + SMOOTHING[1] * plane[at] + SMOOTHING[2] * after
                    })
                    .collect()
            };
        let data = std::array::from_fn(|n| {
            let rows = along(&self.data[n], 1, &|at| (at % width, width));
            along(&rows, width, &|at| (at / width, height))
        });
        Self {
            width,
            height,
            data,
        }
    }
}

/// An image as differences from its background, smoothed, with `margin` pixels of nothing around it.
#[derive(Debug, Clone)]
pub(crate) struct Canvas {
    pub(crate) background: [f32; 3],
    pub(crate) margin: usize,
    pub(crate) planes: Planes<3>,
    /// Sum of squares over the channels, per pixel.
    pub(crate) energy: Vec<f32>,
    /// Mean squared step from a background pixel to the next, summed over the channels: noise.
    pub(crate) noise: f32,
}

impl Canvas {
    pub(crate) fn new(image: &Image, margin: usize) -> Self {
        let background = background_of(image);
        let mut planes = Planes::<3>::new(image.width + 2 * margin, image.height + 2 * margin);
        for y in 0..image.height {
            let row = (y + margin) * planes.width + margin;
            for x in 0..image.width {
                let pixel = image.pixel(x, y);
                for channel in 0..3 {
                    planes.data[channel][row + x] = pixel[channel] - background[channel];
                }
            }
        }
        let planes = planes.smoothed();
        let [red, green, blue] = &planes.data;
        let energy: Vec<f32> = red
            .iter()
            .zip(green)
            .zip(blue)
            .map(|((r, g), b)| r * r + g * g + b * b)
            .collect();
        let noise = noise_of(&planes, &energy, margin);
        Self {
            background,
            margin,
            planes,
            energy,
            noise,
        }
    }
}

impl Canvas {
    /// Makes a pixel background: what it showed is explained.
    pub(crate) fn erase(&mut self, x: usize, y: usize) {
        let at = y * self.planes.width + x;
        self.energy[at] = 0.0;
        for plane in &mut self.planes.data {
            plane[at] = 0.0;
        }
    }
}

/// Mean squared step between neighbours in a row that are both background.
fn noise_of(planes: &Planes<3>, energy: &[f32], margin: usize) -> f32 {
    let (mut sum, mut num) = (0.0, 0.0_f32);
    for y in margin..planes.height - margin {
        for x in margin..planes.width - margin - 1 {
            let at = y * planes.width + x;
            if energy[at].max(energy[at + 1]) < SIMILAR * SIMILAR {
                num += 1.0;
                sum += planes
                    .data
                    .iter()
                    .map(|plane| (plane[at + 1] - plane[at]).powi(2))
                    .sum::<f32>();
            }
        }
    }
    sum / num.max(1.0)
}

/// Median of the border, then the mean of all pixels like it.
fn background_of(image: &Image) -> [f32; 3] {
    let (width, height) = (image.width, image.height);
    let is_border =
        |x: usize, y: usize| x < RING || y < RING || x + RING >= width || y + RING >= height;
    let pixels: Vec<[f32; 3]> = (0..height)
        .flat_map(|y| {
            (0..width)
                .filter(move |&x| is_border(x, y))
                .map(move |x| (x, y))
        })
        .map(|(x, y)| image.pixel(x, y))
        .collect();
    let median: [f32; 3] = std::array::from_fn(|channel| {
        let mut values: Vec<f32> = pixels.iter().map(|pixel| pixel[channel]).collect();
        values.sort_by(f32::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    });
    let mut sum = [0.0; 3];
    let mut num = 0.0;
    for pixel in (0..width * height).map(|at| image.pixel(at % width, at / width)) {
        if pixel
            .iter()
            .zip(&median)
            .all(|(value, middle)| (value - middle).abs() < SIMILAR)
        {
            num += 1.0;
            for channel in 0..3 {
                sum[channel] += pixel[channel];
            }
        }
    }
    if num > 0.0 {
        sum.map(|value| value / num)
    } else {
        median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_background_is_found_beside_sprites_and_noise() {
        let mut image = Image::filled(16, 16, [0.2, 0.25, 0.3]);
        for at in 0..16 {
            image.set_pixel(at, 3, [1.0, 0.0, 0.0]);
            image.set_pixel(at, 5, [0.22, 0.23, 0.3]);
        }
        for (found, expected) in background_of(&image).into_iter().zip([0.2, 0.25, 0.3]) {
            assert!((found - expected).abs() < 3e-3, "{found} is not {expected}");
        }
    }

    #[test]
    fn smoothing_keeps_the_sum_of_what_is_inside() {
        let mut planes = Planes::<1>::new(5, 5);
        planes.data[0][12] = 1.0;
        let smooth = planes.smoothed();
        assert!((smooth.data[0].iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(smooth.data[0][12] > smooth.data[0][11] && smooth.data[0][11] > smooth.data[0][6]);
    }
}
