//! The template and place that explain a group of foreground pixels best.
//!
//! First every template that can be the group is tried where its edges align with the group's, on a coarse grid; then
//! the best of these around their places. Parts of a drawing can be as dark as the background, and then the group is
//! smaller than the drawing: where no template of the group's own size is a clear match, larger ones are tried too.

use super::{
    Judge,
    candidate::Candidate,
    canvas::Canvas,
    component::Component,
    template::{PADDING, Template},
};

/// With this little unexplained, templates that lack more are not tried.
const CLEAR_RESIDUAL: f32 = 0.04;
/// Templates whose fit is refined over places, out of those tried at the group's centre.
const NUM_REFINED: usize = 14;
/// Part of a template that its group may lack on a side, tried in this order: parts of a drawing can look like background.
const LOST: [f32; 3] = [0.15, 0.4, 0.75];
/// Pixels by which a template may be smaller than its group: blur makes it larger.
const HALO_PIXELS: usize = 2;
/// Pixels between two places of the first search. At most 3: the second search goes one pixel further.
const COARSE_STEP: usize = 3;

impl Judge {
    /// The best explanation of a group; `None` when nothing has its size.
    pub(super) fn best(&self, canvas: &Canvas, group: &Component) -> Option<Candidate<'_>> {
        let mut best: Option<Candidate> = None;
        for lost in LOST {
            best = better(best, self.best_with(canvas, group, lost));
            if best.is_some_and(|best| best.fit.residual <= CLEAR_RESIDUAL) {
                break;
            }
        }
        best
    }

    /// The best explanation by templates of which at most the part `lost` of a side is not in the group.
    fn best_with(&self, canvas: &Canvas, group: &Component, lost: f32) -> Option<Candidate<'_>> {
        let mut coarse: Vec<Candidate> = Vec::new();
        for template in self
            .templates
            .iter()
            .filter(|one| self.can_be(one, group, lost))
        {
            for y in aligned(group.top, group.bottom, template.height) {
                for x in aligned(group.left, group.right, template.width) {
                    coarse.push(self.candidate(canvas, template, x, y));
                }
            }
        }
        coarse.sort_by(|a, b| a.fit.residual.total_cmp(&b.fit.residual));
        coarse.truncate(NUM_REFINED);
        let around = |place: usize| place.saturating_sub(1)..=place + 1;
        let mut best = None;
        for Candidate { template, x, y, .. } in coarse {
            for (near_x, near_y) in around(y).flat_map(|y| around(x).map(move |x| (x, y))) {
                best = better(best, Some(self.candidate(canvas, template, near_x, near_y)));
            }
        }
        best
    }

    fn candidate<'a>(
        &self,
        canvas: &Canvas,
        template: &'a Template,
        x: usize,
        y: usize,
    ) -> Candidate<'a> {
        let (width, height) = template.outer();
        let (x, y) = (
            x.min(canvas.planes.width - width),
            y.min(canvas.planes.height - height),
        );
        Candidate {
            template,
            x,
            y,
            fit: template.fit(canvas, &self.ramps, x, y),
        }
    }

    /// Whether a group can be this template: about as large. A group larger than any sprite is several that touch, and
    /// can contain every template.
    fn can_be(&self, template: &Template, group: &Component, lost: f32) -> bool {
        let is_joined = group.width().max(group.height()) > self.largest;
        let fits = |own: usize, seen: usize| {
            (1.0 - lost) * own as f32 <= seen as f32 && (is_joined || seen <= own + HALO_PIXELS)
        };
        fits(template.width, group.width()) && fits(template.height, group.height())
    }
}

fn better<'a>(a: Option<Candidate<'a>>, b: Option<Candidate<'a>>) -> Option<Candidate<'a>> {
    a.into_iter()
        .chain(b)
        .min_by(|a, b| a.fit.residual.total_cmp(&b.fit.residual))
}

/// Corners (padding included) that align either end of the template with that end of the group, and some between, so
/// that no place between is more than a pixel from one of them.
fn aligned(start: usize, end: usize, side: usize) -> impl Iterator<Item = usize> {
    let far = (end + 1).saturating_sub(side);
    let (first, last) = (start.min(far) - PADDING, start.max(far) - PADDING);
    let is_last_far = (last - first) % COARSE_STEP > 1;
    (first..=last)
        .step_by(COARSE_STEP)
        .chain(is_last_far.then_some(last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_places_leave_no_gap() {
        let places = |end| {
            aligned(10, end, 8)
                .map(|place| place + PADDING)
                .collect::<Vec<_>>()
        };
        assert_eq!(places(17), [10]);
        assert_eq!(places(18), [10]);
        assert_eq!(places(19), [10, 12]);
        assert_eq!(places(13), [6, 9]);
        assert_eq!(places(24), [10, 13, 16]);
    }
}
