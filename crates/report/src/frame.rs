//! [`Frame`]: where a chart's area lies in its picture.

use crate::scale::Scale;

pub(crate) const TOP: f64 = 18.0;
const BOTTOM: f64 = 34.0;
pub(crate) const LEFT: f64 = 50.0;
pub(crate) const RIGHT: f64 = 16.0;

/// Where the chart's area lies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub(crate) width: f64,
    pub(crate) height: f64,
    pub(crate) right: f64,
    pub(crate) x: Scale,
    pub(crate) y: Scale,
}

impl Frame {
    pub(crate) fn x(&self, value: f64) -> f64 {
        LEFT + self.x.place(value) * (self.right - LEFT)
    }

    pub(crate) fn y(&self, value: f64) -> f64 {
        let bottom = self.bottom();
        bottom - self.y.place(value) * (bottom - TOP)
    }

    pub(crate) fn bottom(&self) -> f64 {
        self.height - BOTTOM
    }
}

/// A place with a tenth of a pixel, without a needless fraction.
pub(crate) fn px(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}
