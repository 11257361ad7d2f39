//! [`Line`] and [`Band`]: what a chart draws.

use crate::frame::{Frame, px};

/// Number of colours in `page.css`.
const NUM_COLORS: usize = 8;

/// A line through points.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) color: usize,
    pub(crate) points: Vec<(f64, f64)>,
    pub(crate) has_dots: bool,
}

/// An area between a lower and an upper line: x, low, high.
#[derive(Debug, Clone)]
pub(crate) struct Band {
    pub(crate) color: usize,
    pub(crate) points: Vec<(f64, f64, f64)>,
}

impl Line {
    pub(crate) fn path(&self, frame: &Frame) -> String {
        polyline(
            self.points.iter().map(|(x, y)| (frame.x(*x), frame.y(*y))),
            'M',
        )
    }
}

impl Band {
    pub(crate) fn path(&self, frame: &Frame) -> String {
        let high = self
            .points
            .iter()
            .map(|(x, _, high)| (frame.x(*x), frame.y(*high)));
        let low = self
            .points
            .iter()
            .rev()
            .map(|(x, low, _)| (frame.x(*x), frame.y(*low)));
        polyline(high, 'M') + &polyline(low, 'L') + "Z"
    }
}

fn polyline(points: impl Iterator<Item = (f64, f64)>, first: char) -> String {
    let places: Vec<String> = points
        .map(|(x, y)| format!("{} {}", px(x), px(y)))
        .collect();
    format!("{first}{}", places.join("L"))
}

pub(crate) fn color(index: usize) -> usize {
    index % NUM_COLORS
}
