//! Random places for boxes that keep their distance.

use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use crate::{geometry::Bounds, prompt::Relation};

/// Pixels between two boxes, at least.
pub(crate) const GAP: usize = 2;
/// Pixels between a box and the border of the image, at least.
pub(crate) const BORDER: usize = 1;

/// "Box `first` is clearly in this relation to box `second`."
#[derive(Debug, Clone, Copy)]
pub(crate) struct Constraint {
    pub(crate) first: usize,
    pub(crate) relation: Relation,
    pub(crate) second: usize,
}

/// Places boxes of (width, height) one after the other, each uniformly over all whole-pixel places that are still
/// allowed. `None` when one of them finds no place.
pub(crate) fn place(
    canvas: usize,
    sides: &[(usize, usize)],
    constraints: &[Constraint],
    rng: &mut ChaCha8Rng,
) -> Option<Vec<(usize, usize)>> {
    let mut placed: Vec<Bounds> = Vec::with_capacity(sides.len());
    let mut places = Vec::with_capacity(sides.len());
    for (index, &(width, height)) in sides.iter().enumerate() {
        let mut allowed = Vec::new();
        for y in BORDER..=canvas.checked_sub(height + BORDER)? {
            for x in BORDER..=canvas.checked_sub(width + BORDER)? {
                let bounds = Bounds {
                    x: x as f32,
                    y: y as f32,
                    width: width as f32,
                    height: height as f32,
                };
                let is_free = placed
                    .iter()
                    .all(|other| !bounds.is_nearer_than(other, GAP as f32));
                if is_free
                    && constraints
                        .iter()
                        .all(|constraint| is_met(constraint, index, &bounds, &placed))
                {
                    allowed.push((x, y, bounds));
                }
            }
        }
        let &(x, y, bounds) = allowed.choose(rng)?;
        placed.push(bounds);
        places.push((x, y));
    }
    Some(places)
}

/// Whether a constraint between box `index` at `bounds` and an earlier box is met; others are not asked yet.
fn is_met(constraint: &Constraint, index: usize, bounds: &Bounds, placed: &[Bounds]) -> bool {
    let Constraint {
        first,
        relation,
        second,
    } = *constraint;
    if first == index && second < index {
        bounds.is_clearly(relation, &placed[second])
    } else if second == index && first < index {
        placed[first].is_clearly(relation, bounds)
    } else {
        true
    }
}
