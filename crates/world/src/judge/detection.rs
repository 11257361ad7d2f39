//! Finding the objects of an image, from its pixels alone.
//!
//! The background is estimated, what differs from it is grouped, and every group is explained by the template that
//! leaves the least of it unexplained. Groups that no template explains are no objects.

use serde::{Deserialize, Serialize};

use crate::{
    Image, World,
    geometry::Bounds,
    palette::Ramp,
    prompt::{ColorId, ObjectId},
};

use super::{
    canvas::Canvas,
    component::{Component, Mask},
    template::{Fit, PADDING, Template},
};

/// Distance from the background (root of the summed squares over channels) of a foreground pixel.
const FOREGROUND: f32 = 0.15;
/// Largest unexplained part of an object.
const MAX_RESIDUAL: f32 = 0.22;
/// Templates whose fit is refined over places, out of those tried at the group's centre.
const NUM_REFINED: usize = 14;
/// Part of a template that its group may lack on a side: some parts of a drawing can look like background.
const LOST: f32 = 0.35;
/// Pixels by which a template may be smaller than its group: blur makes it larger.
const HALO_PIXELS: usize = 2;
/// Pixels between two places of the first search.
const COARSE_STEP: usize = 2;
/// Groups smaller than this part of the smallest sprite's square are specks.
const SPECK: f32 = 0.03;

/// An object that the judge sees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// What it is.
    pub object: ObjectId,
    /// The tint that explains it best; `None` when it has colours of its own that no tint explains.
    pub color: Option<ColorId>,
    /// Its box.
    pub bounds: Bounds,
    /// Explained part of its difference from the background, at most 1.
    pub score: f32,
}

/// Everything the judge sees in an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Objects, the most confident first.
    pub detections: Vec<Detection>,
    /// Pixels that are neither background nor part of an object, specks left out.
    pub unexplained: usize,
}

/// Sees objects by comparing with the world's own drawings. No learning, no access to scenes.
#[derive(Debug, Clone)]
pub struct Judge {
    templates: Vec<Template>,
    ramps: Vec<Ramp>,
    pub(super) objects: &'static [&'static str],
    pub(super) colors: &'static [&'static str],
    /// Smallest sprite of the world's scenes, longest side in pixels.
    pub(super) smallest: usize,
    /// Largest template's side, so that the canvas has room around the image.
    margin: usize,
}

/// A template at a place.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    template: &'a Template,
    x: usize,
    y: usize,
    fit: Fit,
}

impl Judge {
    /// Prepares the templates of a world.
    pub fn new(world: &World) -> Self {
        let objects = (0..world.objects().len()).map(ObjectId);
        let templates: Vec<Template> = objects
            .flat_map(|object| {
                world
                    .sprites(object)
                    .iter()
                    .map(move |sprite| Template::new(object, sprite))
            })
            .collect();
        let margin = templates
            .iter()
            .map(|template| template.size)
            .max()
            .unwrap_or(0)
            + 2 * PADDING;
        Self {
            templates,
            ramps: (0..world.colors().len())
                .map(|color| *world.ramp(ColorId(color)))
                .collect(),
            objects: world.objects(),
            colors: world.colors(),
            smallest: world.table().size_limits().0,
            margin,
        }
    }

    /// The objects in an image, the most confident first.
    pub fn detect(&self, image: &Image) -> Vec<Detection> {
        self.read(image).detections
    }

    /// The objects in an image and how much of it they leave unexplained.
    pub fn read(&self, image: &Image) -> Reading {
        let mut canvas = Canvas::new(image, self.margin);
        let mut mask = Mask {
            width: canvas.planes.width,
            height: canvas.planes.height,
            set: canvas
                .energy
                .iter()
                .map(|&energy| energy > FOREGROUND * FOREGROUND)
                .collect(),
        };
        let speck = (SPECK * (self.smallest * self.smallest) as f32) as usize;
        let mut detections = Vec::new();
        let mut unexplained = 0;
        // Every round removes pixels from the mask, so this ends.
        while let Some(group) = mask.components().into_iter().max_by_key(|group| group.area) {
            if group.area <= speck {
                break;
            }
            let found = self
                .best(&canvas, &group)
                .filter(|candidate| candidate.fit.residual <= MAX_RESIDUAL)
                .map(|candidate| (detection(&candidate, canvas.margin), candidate.covered()))
                .filter(|(_, covered)| covered.iter().any(|&(x, y)| mask.set[y * mask.width + x]));
            if let Some((detection, covered)) = found {
                detections.push(detection);
                for (x, y) in covered {
                    mask.set[y * mask.width + x] = false;
                    canvas.erase(x, y);
                }
            } else {
                unexplained += group.area;
                mask.clear(&group);
            }
        }
        detections.sort_by(|a: &Detection, b| b.score.total_cmp(&a.score));
        Reading {
            detections,
            unexplained,
        }
    }

    /// The template and place that explain a group best: first every template that can be this group, at every other
    /// aligned place, then the best of these around their places.
    fn best(&self, canvas: &Canvas, group: &Component) -> Option<Candidate<'_>> {
        let fit = |template, x: usize, y: usize| {
            let last = |side: usize, outer: usize| side - outer;
            let (width, height) = Template::outer(template);
            let (x, y) = (
                x.min(last(canvas.planes.width, width)),
                y.min(last(canvas.planes.height, height)),
            );
            Candidate {
                template,
                x,
                y,
                fit: template.fit(canvas, &self.ramps, x, y),
            }
        };
        let mut coarse: Vec<Candidate> = Vec::new();
        for template in self
            .templates
            .iter()
            .filter(|template| self.can_be(template, group))
        {
            for y in aligned(group.top, group.bottom, template.height).step_by(COARSE_STEP) {
                for x in aligned(group.left, group.right, template.width).step_by(COARSE_STEP) {
                    coarse.push(fit(template, x, y));
                }
            }
        }
        coarse.sort_by(|a, b| a.fit.residual.total_cmp(&b.fit.residual));
        coarse.truncate(NUM_REFINED);
        let around = |place: usize| place.saturating_sub(1)..=place + 1;
        let fine = coarse.iter().flat_map(|candidate| {
            around(candidate.y)
                .flat_map(move |y| around(candidate.x).map(move |x| (candidate.template, x, y)))
        });
        fine.map(|(template, x, y)| fit(template, x, y))
            .min_by(|a, b| a.fit.residual.total_cmp(&b.fit.residual))
    }

    /// Whether a group can be this template: about as large. A group larger than any sprite is several that touch, and can
    /// contain every template.
    fn can_be(&self, template: &Template, group: &Component) -> bool {
        let longest = self
            .templates
            .iter()
            .map(|template| template.size)
            .max()
            .unwrap_or(0);
        let is_joined = group.width().max(group.height()) > longest;
        let fits = |own: usize, seen: usize| {
            (1.0 - LOST) * own as f32 <= seen as f32 && (is_joined || seen <= own + HALO_PIXELS)
        };
        fits(template.width, group.width()) && fits(template.height, group.height())
    }
}

/// Corners (padding included) that align either end of the template with that end of the group, and all between.
fn aligned(start: usize, end: usize, side: usize) -> std::ops::RangeInclusive<usize> {
    let far = (end + 1).saturating_sub(side);
    start.min(far) - PADDING..=start.max(far) - PADDING
}

fn detection(candidate: &Candidate, margin: usize) -> Detection {
    let Candidate {
        template,
        x,
        y,
        fit,
    } = *candidate;
    let (color, residual) = fit.tint;
    let inner = |place: usize| (place + PADDING) as f32 - margin as f32;
    Detection {
        object: template.object,
        color: (residual <= MAX_RESIDUAL).then_some(color),
        bounds: Bounds {
            x: inner(x),
            y: inner(y),
            width: template.width as f32,
            height: template.height as f32,
        },
        score: 1.0 - fit.residual,
    }
}

impl Candidate<'_> {
    /// Places of the sprite's pixels and of those around them.
    fn covered(&self) -> Vec<(usize, usize)> {
        let (width, height) = self.template.outer();
        let near = |v: usize, end: usize| v.saturating_sub(1)..=(v + 1).min(end - 1);
        let is_covered = |x, y| {
            near(y, height)
                .any(|near_y| near(x, width).any(|near_x| self.template.covers(near_x, near_y)))
        };
        let places = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        places
            .filter(|&(x, y)| is_covered(x, y))
            .map(|(x, y)| (self.x + x, self.y + y))
            .collect()
    }
}
