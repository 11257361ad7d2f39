//! Charts for pages that are not a run's: curves in, SVG out.

use crate::chart::Chart;
use crate::line::{Band, Line};
use crate::scale::Scale;

/// A named line, with an area around it where its spread is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Curve {
    /// Shown at its end.
    pub name: String,
    /// In the order of the line.
    pub points: Vec<(f64, f64)>,
    /// Position, low, high; empty for none.
    pub band: Vec<(f64, f64, f64)>,
}

/// The curves in one chart, a picture of its own. `x_label` names the axis.
pub fn curves(title: &str, x_label: &'static str, curves: &[Curve]) -> String {
    let xs: Vec<f64> = curves
        .iter()
        .flat_map(|curve| curve.points.iter().map(|(x, _)| *x))
        .collect();
    let low = xs.iter().copied().fold(f64::INFINITY, f64::min);
    let high = xs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let colored = || curves.iter().enumerate();
    Chart {
        title: title.to_owned(),
        key: String::new(),
        about: String::new(),
        note: String::new(),
        x: Scale::exact(low, high),
        x_label,
        y: None,
        bands: colored()
            .filter(|(_, curve)| !curve.band.is_empty())
            .map(|(color, curve)| Band {
                color,
                points: curve.band.clone(),
            })
            .collect(),
        lines: colored()
            .map(|(color, curve)| Line {
                name: curve.name.clone(),
                color,
                points: curve.points.clone(),
                has_dots: curve.points.len() < 20,
            })
            .collect(),
        levels: Vec::new(),
        marks: Vec::new(),
        broken: Vec::new(),
        is_wide: true,
        has_legend: false,
    }
    .standalone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_and_their_names_are_drawn() {
        let curve = |name: &str, slope: f64| Curve {
            name: name.to_owned(),
            points: (0..5)
                .map(|x| (f64::from(x), slope * f64::from(x)))
                .collect(),
            band: vec![(0.0, -1.0, 1.0), (4.0, 2.0, 5.0)],
        };
        let svg = curves(
            "Reward",
            "update",
            &[curve("alone", 1.0), curve("both", 2.0)],
        );
        assert!(svg.starts_with("<svg xmlns="));
        for part in [">alone<", ">both<", ">update<", "band c1"] {
            assert!(svg.contains(part), "{part}");
        }
    }
}
