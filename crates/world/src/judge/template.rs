//! Templates: how well does an object of some size, in its own colours or any tint, explain a place of the image?
//!
//! With the background taken off, a tinted sprite is `sum_k share_k (stop_k - background)` over the ramp's three stops,
//! a natural one is `natural - alpha background`. The squared residual against the image is therefore a quadratic
//! form of nine products image x share, three products image x natural and constants of the template: tints are free.

use crate::{
    palette::Ramp,
    prompt::{ColorId, ObjectId},
    sprite::Sprite,
};

use super::canvas::{Canvas, Planes};

/// Pixels around the sprite that the template covers and that must be background.
pub(crate) const PADDING: usize = 1;

/// One object at one size.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    pub(crate) object: ObjectId,
    pub(crate) size: usize,
    /// Width of the sprite; the template has [`PADDING`] more on each side.
    pub(crate) width: usize,
    /// Height of the sprite.
    pub(crate) height: usize,
    /// Shares of dark, middle, light, then natural red, green, blue.
    planes: Planes<6>,
    /// Products of every two planes.
    gram: [[f32; 6]; 6],
}

/// How a template explains a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fit {
    /// Unexplained part of the squared differences from the background, with the best colours.
    pub(crate) residual: f32,
    /// Best tint and its residual.
    pub(crate) tint: (ColorId, f32),
}

impl Fit {
    /// Whether a tint explains the place at least as well as the natural colours.
    pub(crate) fn is_tinted(&self) -> bool {
        self.tint.1 <= self.residual
    }
}

impl Template {
    pub(crate) fn new(object: ObjectId, sprite: &Sprite) -> Self {
        let mut planes = Planes::<6>::new(sprite.width + 2 * PADDING, sprite.height + 2 * PADDING);
        for at in 0..sprite.alpha.len() {
            let place = (at / sprite.width + PADDING) * planes.width + at % sprite.width + PADDING;
            let values = [sprite.shares(at), sprite.color(at, None)].concat();
            for (plane, value) in planes.data.iter_mut().zip(values) {
                plane[place] = value;
            }
        }
        let planes = planes.smoothed();
        let product = |a: usize, b: usize| {
            planes.data[a]
                .iter()
                .zip(&planes.data[b])
                .map(|(x, y)| x * y)
                .sum()
        };
        let gram = std::array::from_fn(|a| std::array::from_fn(|b| product(a, b)));
        Self {
            object,
            size: sprite.size,
            width: sprite.width,
            height: sprite.height,
            planes,
            gram,
        }
    }

    /// Whether the sprite (not its halo) covers the pixel `x`, `y` from the template's corner.
    pub(crate) fn covers(&self, x: usize, y: usize) -> bool {
        const COVERED: f32 = 0.02;
        let at = y * self.planes.width + x;
        self.planes.data[..3]
            .iter()
            .map(|plane| plane[at])
            .sum::<f32>()
            > COVERED
    }

    /// Width and height with padding.
    pub(crate) fn outer(&self) -> (usize, usize) {
        (self.planes.width, self.planes.height)
    }

    /// Fit with the template's corner (padding included) at `x`, `y` of the canvas's planes.
    pub(crate) fn fit(&self, canvas: &Canvas, ramps: &[Ramp], x: usize, y: usize) -> Fit {
        let mut shares = [[0.0_f32; 3]; 3]; // [share][channel]
        let mut natural = [0.0_f32; 3];
        let mut energy = 0.0;
        let (width, height) = self.outer();
        for row in 0..height {
            let at = (y + row) * canvas.planes.width + x;
            let own = row * width..(row + 1) * width;
            energy += canvas.energy[at..at + width].iter().sum::<f32>();
            for channel in 0..3 {
                let pixels = &canvas.planes.data[channel][at..at + width];
                for (share, sums) in shares.iter_mut().enumerate() {
                    sums[channel] += dot(pixels, &self.planes.data[share][own.clone()]);
                }
                natural[channel] += dot(pixels, &self.planes.data[3 + channel][own.clone()]);
            }
        }
        let part = |explained: f32| ((energy - explained) / energy.max(1e-6)).max(0.0);
        let tints = ramps
            .iter()
            .map(|ramp| part(self.explained_by_tint(ramp, canvas.background, &shares)));
        let best = tints
            .enumerate()
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((0, f32::INFINITY));
        let residual = best.1.min(part(self.explained_by_natural(
            canvas.background,
            &shares,
            &natural,
        )));
        Fit {
            residual,
            tint: (ColorId(best.0), best.1),
        }
    }

    /// Unexplained part of the contours: the squared difference between the image's and the template's steps from pixel to
    /// pixel, over the template's own squared steps, less what the image's noise explains. Blur, and another object of the same colour, show here.
    pub(crate) fn contour_residual(
        &self,
        canvas: &Canvas,
        ramp: Option<&Ramp>,
        x: usize,
        y: usize,
    ) -> f32 {
        let (width, height) = self.outer();
        let model: Vec<[f32; 3]> = (0..width * height)
            .map(|at| self.model(at, ramp, canvas.background))
            .collect();
        let mut energy = 0.0;
        let mut residual = 0.0;
        for row in 0..height {
            for column in 0..width {
                let own = row * width + column;
                let at = (y + row) * canvas.planes.width + x + column;
                let mut add = |own_step: usize, step: usize| {
                    for (c, plane) in canvas.planes.data.iter().enumerate() {
                        let seen = plane[at + step] - plane[at];
                        let known = model[own + own_step][c] - model[own][c];
                        energy += known * known;
                        residual += (seen - known) * (seen - known);
                    }
                };
                if column + 1 < width {
                    add(1, 1);
                }
                if row + 1 < height {
                    add(width, canvas.planes.width);
                }
            }
        }
        let num_steps = width * (height - 1) + height * (width - 1);
        (residual - num_steps as f32 * canvas.noise).max(0.0) / energy.max(1e-6)
    }

    /// Difference from the background that the template predicts for one of its pixels.
    fn model(&self, at: usize, ramp: Option<&Ramp>, background: [f32; 3]) -> [f32; 3] {
        let shares: [f32; 3] = std::array::from_fn(|k| self.planes.data[k][at]);
        std::array::from_fn(|c| match ramp {
            Some(ramp) => {
                let stops = [ramp.dark[c], ramp.middle[c], ramp.light[c]];
                (0..3).map(|k| shares[k] * (stops[k] - background[c])).sum()
            }
            None => self.planes.data[3 + c][at] - background[c] * shares.iter().sum::<f32>(),
        })
    }

    /// `2 <image, model> - <model, model>` of a tint.
    fn explained_by_tint(&self, ramp: &Ramp, background: [f32; 3], shares: &[[f32; 3]; 3]) -> f32 {
        let stops = [ramp.dark, ramp.middle, ramp.light];
        (0..3)
            .map(|c| {
                let offset: [f32; 3] = std::array::from_fn(|k| stops[k][c] - background[c]);
                let cross: f32 = (0..3).map(|k| offset[k] * shares[k][c]).sum();
                let own: f32 = (0..3)
                    .map(|k| {
                        (0..3)
                            .map(|l| offset[k] * offset[l] * self.gram[k][l])
                            .sum::<f32>()
                    })
                    .sum();
                2.0 * cross - own
            })
            .sum()
    }

    /// `2 <image, model> - <model, model>` of the natural colours.
    fn explained_by_natural(
        &self,
        background: [f32; 3],
        shares: &[[f32; 3]; 3],
        natural: &[f32; 3],
    ) -> f32 {
        let alpha_alpha: f32 = (0..3).map(|k| self.gram[k][..3].iter().sum::<f32>()).sum();
        (0..3)
            .map(|c| {
                let alpha_image: f32 = shares.iter().map(|share| share[c]).sum();
                let alpha_natural: f32 = self.gram[3 + c][..3].iter().sum();
                let cross = natural[c] - background[c] * alpha_image;
                let own = self.gram[3 + c][3 + c] - 2.0 * background[c] * alpha_natural
                    + background[c] * background[c] * alpha_alpha;
                2.0 * cross - own
            })
            .sum()
    }
}

/// Scalar product in eight independent sums, which the compiler turns into vector instructions.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a8
        .remainder()
        .iter()
        .zip(b8.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a8.zip(b8) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}
