//! [`Chart`]: lines and bands over an axis, as SVG that takes its colours from the page.

use maud::{Markup, html};

use crate::frame::{Frame, LEFT, RIGHT, TOP, px};
use crate::hover;
use crate::line::{Band, Line, color};
use crate::scale::Scale;
use crate::style::STYLE;

/// Width of a letter of the labels, and their least distance.
const LETTER: f64 = 6.3;
const LABEL_GAP: f64 = 13.0;
/// A chart with its title and what must be said about it.
#[derive(Debug, Clone)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// The key of the numbers, as in `metrics.jsonl`.
    pub(crate) key: String,
    /// What it shows, where the title does not say it.
    pub(crate) about: String,
    /// How many values, which seed, what was averaged.
    pub(crate) note: String,
    pub(crate) x: Scale,
    pub(crate) x_label: &'static str,
    /// Given, or from what is drawn.
    pub(crate) y: Option<Scale>,
    pub(crate) bands: Vec<Band>,
    pub(crate) lines: Vec<Line>,
    /// Horizontal lines to compare with.
    pub(crate) levels: Vec<(String, f64)>,
    /// Vertical lines where something starts.
    pub(crate) marks: Vec<(String, f64)>,
    /// Steps whose value was not finite.
    pub(crate) broken: Vec<f64>,
    pub(crate) is_wide: bool,
    /// Names in a list, in the order of the lines, where the line ends tell nothing.
    pub(crate) has_legend: bool,
}

impl Chart {
    /// The chart with its title and note; empty where there is nothing to draw.
    pub(crate) fn figure(&self) -> Markup {
        if self.lines.iter().all(|line| line.points.is_empty()) && self.broken.is_empty() {
            return html! {};
        }
        let frame = self.frame();
        html! {
            figure.chart.wide[self.is_wide] data-hover=(hover::data(&self.lines, self.x_label, &frame)) {
                figcaption {
                    strong { (self.title) }
                    @if !self.key.is_empty() { " " code { (self.key) } }
                    @if !self.about.is_empty() { span.about { (self.about) } }
                }
                (self.svg(&frame))
                p.note { (self.note) }
            }
        }
    }

    /// The chart as a picture of its own, with the page's colours.
    pub(crate) fn standalone(&self) -> String {
        let svg = self.svg(&self.frame()).into_string();
        let head = "<svg xmlns=\"http://www.w3.org/2000/svg\"";
        let style = format!("><style>{STYLE}</style>");
        svg.replacen("<svg", head, 1).replacen('>', &style, 1)
    }

    fn frame(&self) -> Frame {
        let (width, height) = if self.is_wide {
            (880.0, 290.0)
        } else {
            (430.0, 230.0)
        };
        let longest = self.labels().map(|(name, ..)| name.chars().count()).max();
        let gutter = longest.map_or(RIGHT, |letters| 14.0 + LETTER * letters as f64);
        Frame {
            width,
            height,
            right: width - gutter.min(0.4 * width),
            x: self.x,
            y: self.y.unwrap_or_else(|| self.range()),
        }
    }

    /// All of the lines and levels, and most of the bands: one outlier must not flatten the rest.
    fn range(&self) -> Scale {
        let mut values: Vec<f64> = self.levels.iter().map(|(_, value)| *value).collect();
        values.extend(
            self.lines
                .iter()
                .flat_map(|l| l.points.iter().map(|(_, value)| *value)),
        );
        for band in &self.bands {
            let mut ends: Vec<f64> = band
                .points
                .iter()
                .flat_map(|(_, low, high)| [*low, *high])
                .collect();
            ends.sort_unstable_by(f64::total_cmp);
            let cut = ends.len() / 50;
            values.extend(&ends[cut..ends.len() - cut]);
        }
        Scale::around(&values)
    }

    fn svg(&self, frame: &Frame) -> Markup {
        let view = format!("0 0 {} {}", frame.width, frame.height);
        html! {
            svg viewBox=(view) role="img" aria-label=(self.summary()) {
                (self.axes(frame))
                @for (name, update) in &self.marks {
                    @let x = frame.x(*update);
                    @let is_right = x > 0.7 * frame.right;
                    line.mark x1=(px(x)) x2=(px(x)) y1=(TOP) y2=(frame.bottom()) {}
                    text.mark-name x=(px(if is_right { x - 4.0 } else { x + 4.0 })) y=(TOP - 5.0)
                        text-anchor=(if is_right { "end" } else { "start" }) { (name) }
                }
                @for band in &self.bands {
                    path class={ "band c" (color(band.color)) } d=(band.path(frame)) {}
                }
                @for (_, value) in &self.levels {
                    @let y = px(frame.y(*value));
                    line.level x1=(LEFT) x2=(px(frame.right)) y1=(y) y2=(y) {}
                }
                @for line in &self.lines {
                    path class={ "line c" (color(line.color)) } d=(line.path(frame)) {}
                    @if line.has_dots || line.points.len() == 1 {
                        @for (x, y) in &line.points {
                            circle class={ "dot c" (color(line.color)) } r="2.6" cx=(px(frame.x(*x))) cy=(px(frame.y(*y))) {}
                        }
                    }
                }
                @for update in &self.broken {
                    text.broken x=(px(frame.x(*update))) y=(frame.bottom() - 3.0) text-anchor="middle" { "×" }
                }
                (self.names(frame))
            }
        }
    }

    fn axes(&self, frame: &Frame) -> Markup {
        let bottom = frame.bottom();
        let num_x = if self.is_wide { 9 } else { 4 };
        html! {
            @for (value, name) in frame.y.labels(4) {
                @let y = frame.y(value);
                line.grid x1=(LEFT) x2=(px(frame.right)) y1=(px(y)) y2=(px(y)) {}
                text.tick x=(LEFT - 6.0) y=(px(y + 3.8)) text-anchor="end" { (name) }
            }
            line.axis x1=(LEFT) x2=(px(frame.right)) y1=(bottom) y2=(bottom) {}
            @for (value, name) in frame.x.labels(num_x) {
                @let x = px(frame.x(value));
                line.axis x1=(x) x2=(x) y1=(bottom) y2=(bottom + 3.0) {}
                text.tick x=(x) y=(bottom + 15.0) text-anchor="middle" { (name) }
            }
            text.tick x=(px(f64::midpoint(LEFT, frame.right))) y=(frame.height - 4.0) text-anchor="middle" {
                (self.x_label) @if frame.y.is_log() { " · logarithmic" }
            }
        }
    }

    /// Names at the line ends, moved apart where they would overlap.
    fn names(&self, frame: &Frame) -> Markup {
        let mut labels: Vec<_> = self
            .labels()
            .map(|(name, value, class)| (name, frame.y(value), class))
            .collect();
        if self.has_legend {
            for label in &mut labels {
                label.1 = TOP + 6.0;
            }
        } else {
            labels.sort_by(|a, b| a.1.total_cmp(&b.1));
        }
        for index in 1..labels.len() {
            labels[index].1 = labels[index].1.max(labels[index - 1].1 + LABEL_GAP);
        }
        let mut limit = frame.bottom() + 2.0;
        for label in labels.iter_mut().rev() {
            label.1 = label.1.min(limit);
            limit = label.1 - LABEL_GAP;
        }
        html! {
            @for (name, y, class) in &labels {
                text class={ "name " (class) } x=(px(frame.right + 7.0)) y=(px(y + 3.8)) { (name) }
            }
        }
    }

    /// Name, value at the end, and class: of the lines if there are several, and of the levels.
    fn labels(&self) -> impl Iterator<Item = (&str, f64, String)> {
        let needs_names = self.lines.len() > 1 || !self.levels.is_empty();
        let lines = self
            .lines
            .iter()
            .filter(move |_| needs_names)
            .filter_map(|line| {
                let (_, value) = line.points.last()?;
                Some((
                    line.name.as_str(),
                    *value,
                    format!("c{}", color(line.color)),
                ))
            });
        let levels = self
            .levels
            .iter()
            .map(|(name, value)| (name.as_str(), *value, "level-name".to_owned()));
        lines.chain(levels)
    }

    /// For readers that cannot see it.
    fn summary(&self) -> String {
        let lines: Vec<String> = self
            .lines
            .iter()
            .filter_map(|line| {
                let (first, last) = (line.points.first()?.1, line.points.last()?.1);
                let (first, last) = (crate::number::short(first), crate::number::short(last));
                Some(format!("{} from {first} to {last}", line.name))
            })
            .collect();
        format!("{}: {}", self.title, lines.join(", "))
    }
}

#[cfg(test)]
mod tests;
