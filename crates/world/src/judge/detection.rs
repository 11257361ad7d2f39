//! Finding the objects of an image, from its pixels alone.
//!
//! The background is estimated, what differs from it is grouped, and every group is explained by the template that
//! leaves the least of it unexplained. Groups that no template explains are no objects.

use dmdr_image::Image;
use serde::{Deserialize, Serialize};

use super::{
    candidate::Candidate,
    canvas::Canvas,
    component::Mask,
    template::{PADDING, Template},
};
use crate::{
    World,
    geometry::Bounds,
    palette::Ramp,
    prompt::{ColorId, ObjectId},
};

/// Distance from the background (root of the summed squares over channels) of a foreground pixel.
const FOREGROUND: f32 = 0.12;
/// Largest unexplained part of an object.
const MAX_RESIDUAL: f32 = 0.14;
/// Largest unexplained part of an object by a tint, for the object to have that colour.
const MAX_TINT_RESIDUAL: f32 = 0.2;
/// Largest unexplained part of an object's contours.
const MAX_CONTOUR_RESIDUAL: f32 = 0.45;
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
    pub(super) templates: Vec<Template>,
    pub(super) ramps: Vec<Ramp>,
    pub(super) objects: &'static [&'static str],
    pub(super) colors: &'static [&'static str],
    /// Smallest sprite of the world's scenes, longest side in pixels.
    pub(super) smallest: usize,
    /// Longest side of any template's sprite.
    pub(super) largest: usize,
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
        let largest = templates
            .iter()
            .map(|template| template.size)
            .max()
            .unwrap_or(0);
        Self {
            templates,
            ramps: (0..world.colors().len())
                .map(|color| *world.ramp(ColorId(color)))
                .collect(),
            objects: world.objects(),
            colors: world.colors(),
            smallest: world.table().size_limits().0,
            largest,
        }
    }

    /// The objects in an image, the most confident first.
    pub fn detect(&self, image: &Image) -> Vec<Detection> {
        self.read(image).detections
    }

    /// The objects in an image and how much of it they leave unexplained.
    pub fn read(&self, image: &Image) -> Reading {
        let mut canvas = Canvas::new(image, self.largest + 2 * PADDING);
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
                .filter(|candidate| self.is_good(candidate, &canvas))
                .map(|candidate| (Detection::new(&candidate, &canvas), candidate.covered()))
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

    /// Whether a candidate explains its place as a whole and along its contours.
    fn is_good(&self, candidate: &Candidate, canvas: &Canvas) -> bool {
        let Candidate {
            template,
            x,
            y,
            fit,
        } = *candidate;
        let ramp = fit.is_tinted().then(|| &self.ramps[fit.tint.0.0]);
        fit.residual <= MAX_RESIDUAL
            && template.contour_residual(canvas, ramp, x, y) <= MAX_CONTOUR_RESIDUAL
    }
}

impl Detection {
    fn new(candidate: &Candidate, canvas: &Canvas) -> Self {
        let Candidate {
            template,
            x,
            y,
            fit,
        } = *candidate;
        let (color, residual) = fit.tint;
        let inner = |place: usize| (place + PADDING) as f32 - canvas.margin as f32;
        let (width, height) = (template.width as f32, template.height as f32);
        Self {
            object: template.object,
            color: (residual <= MAX_TINT_RESIDUAL).then_some(color),
            bounds: Bounds {
                x: inner(x),
                y: inner(y),
                width,
                height,
            },
            score: 1.0 - fit.residual,
        }
    }
}
