//! Where one box is relative to another, by the official rule.

use super::Relation;

/// The relations of `a` to `b`: none, one or two. Boxes are `[left, top, right, bottom]`, y downwards.
///
/// The offset of the centres is shortened per axis by `shrink` of both boxes' extents, then divided by the length of
/// the *whole* offset; an axis whose share exceeds one half names its relation.
pub(super) fn relations(a: &[f32; 4], b: &[f32; 4], shrink: f32) -> Vec<Relation> {
    let offset = [0, 1].map(|axis| centre(a, axis) - centre(b, axis));
    let shortened = [0, 1].map(|axis| {
        let length = offset[axis].abs() - shrink * (extent(a, axis) + extent(b, axis));
        length.max(0.0).copysign(offset[axis])
    });
    if shortened.iter().all(|length| length.abs() < 1e-3) {
        return Vec::new();
    }
    let norm = (offset[0] * offset[0] + offset[1] * offset[1]).sqrt();
    let [dx, dy] = shortened.map(|length| length / norm);
    let all = [
        (Relation::LeftOf, dx < -0.5),
        (Relation::RightOf, dx > 0.5),
        (Relation::Above, dy < -0.5),
        (Relation::Below, dy > 0.5),
    ];
    all.into_iter()
        .filter_map(|(relation, holds)| holds.then_some(relation))
        .collect()
}

fn centre(bounds: &[f32; 4], axis: usize) -> f32 {
    f32::midpoint(bounds[axis], bounds[axis + 2])
}

fn extent(bounds: &[f32; 4], axis: usize) -> f32 {
    (bounds[axis + 2] - bounds[axis]).abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A box of side 10 at a centre.
    fn at(x: f32, y: f32) -> [f32; 4] {
        [x - 5.0, y - 5.0, x + 5.0, y + 5.0]
    }

    #[test]
    fn the_four_sides_and_a_corner() {
        let origin = at(0.0, 0.0);
        for (x, y, expected) in [
            (-20.0, 0.0, vec![Relation::LeftOf]),
            (20.0, 0.0, vec![Relation::RightOf]),
            (0.0, -20.0, vec![Relation::Above]),
            (0.0, 20.0, vec![Relation::Below]),
            (20.0, -20.0, vec![Relation::RightOf, Relation::Above]),
        ] {
            assert_eq!(relations(&at(x, y), &origin, 0.1), expected, "{x} {y}");
        }
    }

    #[test]
    fn close_boxes_have_no_relation() {
        let origin = at(0.0, 0.0);
        // Both extents are 10, so 2 of the offset do not count: nothing is left, then less than half, then more.
        assert!(relations(&at(2.0, 0.0), &origin, 0.1).is_empty());
        assert!(relations(&at(3.9, 0.0), &origin, 0.1).is_empty());
        assert_eq!(relations(&at(4.1, 0.0), &origin, 0.1), [Relation::RightOf]);
        assert!(relations(&origin, &origin, 0.0).is_empty());
    }
}
