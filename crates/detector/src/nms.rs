//! Non-maximum suppression.

/// Places of the boxes that stay, the most confident first: each whose intersection over union with all that stay before
/// it is at most `threshold`. Boxes are `[left, top, right, bottom]` in pixels whose both ends count, as in YOLOX's demo
/// (`nms` in yolox/utils/demo_utils.py).
pub(crate) fn suppress(boxes: &[[f32; 4]], scores: &[f32], threshold: f32) -> Vec<usize> {
    let mut places: Vec<usize> = (0..boxes.len()).collect();
    places.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    let mut kept: Vec<usize> = Vec::new();
    for place in places {
        if kept
            .iter()
            .all(|&other| overlap(boxes[other], boxes[place]) <= threshold)
        {
            kept.push(place);
        }
    }
    kept
}

/// Intersection over union.
fn overlap(a: [f32; 4], b: [f32; 4]) -> f32 {
    let area = |[left, top, right, bottom]: [f32; 4]| {
        (right - left + 1.0).max(0.0) * (bottom - top + 1.0).max(0.0)
    };
    let both = area([
        a[0].max(b[0]),
        a[1].max(b[1]),
        a[2].min(b[2]),
        a[3].min(b[3]),
    ]);
    both / (area(a) + area(b) - both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_less_confident_of_two_goes() {
        // Of 10 x 10 pixels each; the second shares 6 columns with the first, the third 7.
        let boxes = [0.0, 4.0, 3.0, 50.0].map(|left| [left, 0.0, left + 9.0, 9.0]);
        assert!((overlap(boxes[0], boxes[1]) - 60.0 / 140.0).abs() < 1e-6);
        assert_eq!(suppress(&boxes, &[0.5, 0.4, 0.3, 0.9], 0.45), [3, 0, 1]);
        assert_eq!(suppress(&boxes, &[0.5, 0.4, 0.6, 0.9], 0.45), [3, 2]);
        // A box that is suppressed suppresses none.
        assert_eq!(suppress(&boxes[..3], &[0.9, 0.7, 0.8], 0.45), [0, 1]);
        assert!(suppress(&[], &[], 0.45).is_empty());
    }
}
