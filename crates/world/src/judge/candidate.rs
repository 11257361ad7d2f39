//! [`Candidate`]: a template at a place, which may explain a group of pixels.

use super::template::{Fit, Template};

/// A template at a place of the canvas; the place is that of the template's padding.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate<'a> {
    pub(crate) template: &'a Template,
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) fit: Fit,
}

impl Candidate<'_> {
    /// Places of the sprite's pixels and of those around them.
    pub(crate) fn covered(&self) -> Vec<(usize, usize)> {
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
