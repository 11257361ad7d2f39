//! Drawings of the objects: rasterised once per size, cropped to what is drawn, natural or tinted.
//!
//! A tint replaces every colour by a point on the ramp dark -> colour -> light, chosen by the luminance of the drawing
//! (stretched over its own range). The ramp is piecewise linear, so a sprite keeps the *shares* of the three stops per
//! pixel, and painting any tint is one product.

use resvg::{tiny_skia, usvg};

use crate::{WorldError, palette::Ramp, preset::ObjectEntry};

/// Samples per pixel and direction.
const OVERSAMPLING: usize = 8;
/// Parts of the drawing's area that are below the dark stop and above the light stop.
const CLIPPED: f32 = 0.04;
/// Smallest range of luminance on each side of the middle stop.
const MIN_RANGE: f32 = 0.2;

/// One object at one size. Pixels row by row; colours are multiplied by `alpha`.
#[derive(Debug, Clone)]
pub(crate) struct Sprite {
    /// Longest side as asked for, in pixels.
    pub(crate) size: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) alpha: Vec<f32>,
    natural: Vec<[f32; 3]>,
    /// Shares of the dark, middle and light stop; they sum to `alpha`.
    shares: Vec<[f32; 3]>,
}

impl Sprite {
    /// Colour of a pixel, multiplied by its alpha: natural without a ramp, tinted with one.
    pub(crate) fn color(&self, at: usize, ramp: Option<&Ramp>) -> [f32; 3] {
        let Some(ramp) = ramp else {
            return self.natural[at];
        };
        let [dark, middle, light] = self.shares[at];
        std::array::from_fn(|c| {
            dark * ramp.dark[c] + middle * ramp.middle[c] + light * ramp.light[c]
        })
    }
}

impl Sprite {
    /// Shares of the dark, middle and light stop of a pixel; they sum to its alpha.
    pub(crate) fn shares(&self, at: usize) -> [f32; 3] {
        self.shares[at]
    }
}

/// All sizes of one object.
#[derive(Debug, Clone)]
pub(crate) struct SpriteSet {
    sprites: Vec<Sprite>,
}

impl SpriteSet {
    /// Draws an object at every size (longest side in pixels).
    pub(crate) fn draw(
        object: &ObjectEntry,
        sizes: impl Iterator<Item = usize>,
    ) -> Result<Self, WorldError> {
        let broken = |reason: String| WorldError::Drawing {
            object: object.name,
            reason,
        };
        let tree = usvg::Tree::from_str(object.drawing.data.0, &usvg::Options::default())
            .map_err(|e| broken(e.to_string()))?;
        let sprites: Option<Vec<Sprite>> = sizes.map(|size| rasterise(&tree, size)).collect();
        Ok(Self {
            sprites: sprites.ok_or_else(|| broken("nothing is drawn".into()))?,
        })
    }

    /// The sprite of exactly this size.
    ///
    /// # Panics
    /// When the size is not among those drawn.
    pub(crate) fn of_size(&self, size: usize) -> &Sprite {
        self.sprites
            .iter()
            .find(|sprite| sprite.size == size)
            .expect("the preset draws every size it uses")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Sprite> {
        self.sprites.iter()
    }
}

/// A drawing sampled finely: premultiplied colour and alpha.
struct Raster {
    width: usize,
    height: usize,
    rgba: Vec<[f32; 4]>,
}

/// `None` when there is nothing to draw.
fn rasterise(tree: &usvg::Tree, size: usize) -> Option<Sprite> {
    let bounds = tree.root().abs_stroke_bounding_box();
    let longest = bounds.width().max(bounds.height());
    if longest <= 0.0 {
        return None;
    }
    let scale = size as f32 / longest;
    let pixels = |length: f32| ((length * scale - 0.05).ceil() as usize).clamp(1, size);
    let (width, height) = (pixels(bounds.width()), pixels(bounds.height()));
    let fine = OVERSAMPLING as f32;
    let centre =
        |start: f32, length: f32, side: usize| side as f32 / 2.0 - scale * (start + length / 2.0);
    let transform = tiny_skia::Transform::from_row(
        scale * fine,
        0.0,
        0.0,
        scale * fine,
        centre(bounds.x(), bounds.width(), width) * fine,
        centre(bounds.y(), bounds.height(), height) * fine,
    );
    let mut pixmap = tiny_skia::Pixmap::new(
        (width * OVERSAMPLING) as u32,
        (height * OVERSAMPLING) as u32,
    )?;
    resvg::render(tree, transform, &mut pixmap.as_mut());
    let rgba = pixmap
        .data()
        .chunks_exact(4)
        .map(|p| std::array::from_fn(|c| f32::from(p[c]) / 255.0))
        .collect();
    let raster = Raster {
        width: width * OVERSAMPLING,
        height: height * OVERSAMPLING,
        rgba,
    };
    Some(shrink(&raster, size))
}

fn luminance(rgba: [f32; 4]) -> f32 {
    (0.299 * rgba[0] + 0.587 * rgba[1] + 0.114 * rgba[2]) / rgba[3].max(1e-6)
}

/// Luminances that become the dark, middle and light stop: both ends and the median, so that most of a tinted sprite has
/// the colour itself.
fn luminance_stops(raster: &Raster) -> [f32; 3] {
    let mut values: Vec<f32> = raster
        .rgba
        .iter()
        .filter(|p| p[3] > 0.5)
        .map(|&p| luminance(p))
        .collect();
    values.sort_by(f32::total_cmp);
    let Some(last) = values.len().checked_sub(1) else {
        return [0.0, 0.5, 1.0];
    };
    let quantile = |part: f32| values[(part * last as f32).round() as usize];
    let middle = quantile(0.5);
    [
        quantile(CLIPPED).min(middle - MIN_RANGE),
        middle,
        quantile(1.0 - CLIPPED).max(middle + MIN_RANGE),
    ]
}

/// Box filter down to whole pixels.
fn shrink(raster: &Raster, size: usize) -> Sprite {
    let [low, middle, high] = luminance_stops(raster);
    let (width, height) = (raster.width / OVERSAMPLING, raster.height / OVERSAMPLING);
    let mut natural = vec![[0.0; 3]; width * height];
    let mut shares = vec![[0.0; 3]; width * height];
    let mut alpha = vec![0.0; width * height];
    let weight = 1.0 / (OVERSAMPLING * OVERSAMPLING) as f32;
    for (index, &rgba) in raster.rgba.iter().enumerate() {
        let at = index / raster.width / OVERSAMPLING * width + index % raster.width / OVERSAMPLING;
        let offset = luminance(rgba) - middle;
        let side = if offset < 0.0 {
            middle - low
        } else {
            high - middle
        };
        let tone = (offset / side).clamp(-1.0, 1.0);
        let stops = [(-tone).max(0.0), 1.0 - tone.abs(), tone.max(0.0)];
        for channel in 0..3 {
            natural[at][channel] += weight * rgba[channel];
            shares[at][channel] += weight * rgba[3] * stops[channel];
        }
        alpha[at] += weight * rgba[3];
    }
    Sprite {
        size,
        width,
        height,
        alpha,
        natural,
        shares,
    }
}
