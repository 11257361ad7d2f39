//! Boxes and GenEval's rule for relations between them.

use serde::{Deserialize, Serialize};

use crate::prompt::Relation;

/// Part of the summed box sides by which GenEval shortens offsets.
const SHRINK: f32 = 0.1;
/// GenEval's limit: the shortened offset over the distance must exceed it.
pub(crate) const RELATION_LIMIT: f32 = 0.5;

/// A box in pixels; `y` grows downwards.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Left edge.
    pub x: f32,
    /// Top edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

impl Bounds {
    /// Centre as (x, y).
    pub fn centre(&self) -> (f32, f32) {
        (self.x + self.width / 2.0, self.y + self.height / 2.0)
    }

    /// Whether the boxes come closer than `gap` pixels in both directions.
    pub(crate) fn is_nearer_than(&self, other: &Self, gap: f32) -> bool {
        self.x < other.x + other.width + gap
            && other.x < self.x + self.width + gap
            && self.y < other.y + other.height + gap
            && other.y < self.y + self.height + gap
    }

    /// GenEval's normalised offset of `self` from `other`: each axis shortened by a tenth of both boxes' sides, then
    /// divided by the length of the offset as it was. (0, 0) where the boxes nearly coincide.
    fn offset_from(&self, other: &Self) -> (f32, f32) {
        let ((ax, ay), (bx, by)) = (self.centre(), other.centre());
        let (dx, dy) = (ax - bx, ay - by);
        let shorten =
            |offset: f32, sides: f32| (offset.abs() - SHRINK * sides).max(0.0).copysign(offset);
        let short = (
            shorten(dx, self.width + other.width),
            shorten(dy, self.height + other.height),
        );
        if short.0.abs() < 1e-3 && short.1.abs() < 1e-3 {
            return (0.0, 0.0);
        }
        let length = dx.hypot(dy);
        (short.0 / length, short.1 / length)
    }

    /// Whether `self` is left of, right of, above or below `other` by GenEval's rule. Two relations may hold at once.
    pub fn is(&self, relation: Relation, other: &Self) -> bool {
        let (along, _) = self.along_and_across(relation, other);
        along > RELATION_LIMIT
    }

    /// Whether the relation holds with a margin and no relation on the other axis holds with it.
    pub(crate) fn is_clearly(&self, relation: Relation, other: &Self) -> bool {
        const ALONG: f32 = 0.65;
        const ACROSS: f32 = 0.42;
        let (along, across) = self.along_and_across(relation, other);
        along > ALONG && across < ACROSS
    }

    /// Offset in the relation's direction and the absolute offset across it.
    fn along_and_across(&self, relation: Relation, other: &Self) -> (f32, f32) {
        let (dx, dy) = self.offset_from(other);
        match relation {
            Relation::LeftOf => (-dx, dy.abs()),
            Relation::RightOf => (dx, dy.abs()),
            Relation::Above => (-dy, dx.abs()),
            Relation::Below => (dy, dx.abs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32, y: f32) -> Bounds {
        Bounds {
            x,
            y,
            width: 10.0,
            height: 10.0,
        }
    }

    #[test]
    fn relations_follow_the_rule_of_geneval() {
        let here = square(20.0, 20.0);
        let relations = |x, y| -> Vec<Relation> {
            Relation::ALL
                .into_iter()
                .filter(|&relation| square(x, y).is(relation, &here))
                .collect()
        };
        assert_eq!(relations(0.0, 20.0), [Relation::LeftOf]);
        assert_eq!(relations(40.0, 21.0), [Relation::RightOf]);
        assert_eq!(relations(20.0, 0.0), [Relation::Above]);
        assert_eq!(relations(0.0, 40.0), [Relation::LeftOf, Relation::Below]);
        assert_eq!(relations(21.5, 20.0), []);
        // (|d| - 2) / |d| = 0.5 at d = 4: the limit itself does not count.
        assert_eq!(relations(24.0, 20.0), []);
        assert_eq!(relations(24.1, 20.0), [Relation::RightOf]);
    }

    #[test]
    fn a_relation_and_its_inverse_agree() {
        let (a, b) = (square(3.0, 7.0), square(19.0, 11.0));
        for relation in Relation::ALL {
            assert_eq!(a.is(relation, &b), b.is(relation.inverse(), &a));
        }
    }
}
