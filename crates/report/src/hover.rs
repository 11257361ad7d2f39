//! What `page.js` needs to tell the values under the pointer; without scripts the charts lose nothing else.

use serde_json::{Value, json};

use crate::frame::{Frame, LEFT, TOP, px};
use crate::line::{Line, color};

/// The points of a chart's `lines` with their places, as JSON for the attribute `data-hover`.
pub(crate) fn data(lines: &[Line], x_label: &str, frame: &Frame) -> String {
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| {
            let places: Vec<f64> = line.points.iter().map(|(x, _)| px(frame.x(*x))).collect();
            let xs: Vec<f64> = line.points.iter().map(|(x, _)| rounded(*x)).collect();
            let ys: Vec<f64> = line.points.iter().map(|(_, y)| rounded(*y)).collect();
            json!({ "name": line.name, "color": color(line.color), "at": places, "x": xs, "y": ys })
        })
        .collect();
    let (left, right) = (LEFT, px(frame.right));
    json!({
        "width": frame.width, "left": left, "right": right, "top": TOP, "bottom": frame.bottom(),
        "x": x_label, "lines": lines,
    })
    .to_string()
}

/// Five significant digits.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let unit = 10f64.powi(4 - value.abs().log10().floor() as i32);
    (value * unit).round() / unit
}

#[cfg(test)]
mod tests {
    use super::rounded;

    #[test]
    fn five_digits() {
        for (value, text) in [
            (123_456.0, "123460"),
            (-0.001_234_567, "-0.0012346"),
            (0.0, "0"),
        ] {
            assert_eq!(rounded(value).to_string(), text);
        }
    }
}
