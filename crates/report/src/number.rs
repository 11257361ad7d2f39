//! Numbers as people read them.

/// About four significant digits, without an exponent where that is readable: `0.8125`, `−12.5`, `3.1e−6`.
pub(crate) fn short(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs();
    let text = if magnitude == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e6).contains(&magnitude) {
        exponential(value)
    } else {
        let digits = (3 - magnitude.log10().floor() as i32).max(0) as usize;
        trimmed(&format!("{value:.digits$}"))
    };
    minus(&text)
}

/// As [`short`], for metrics in a table: always `digits` decimals, so that columns line up.
pub(crate) fn fixed(value: f64, digits: usize) -> String {
    if value.is_finite() {
        minus(&format!("{value:.digits$}"))
    } else {
        value.to_string()
    }
}

/// With a sign, for differences.
pub(crate) fn signed(value: f64, digits: usize) -> String {
    let text = fixed(value, digits);
    if value > 0.0 {
        format!("+{text}")
    } else {
        text
    }
}

/// For the ticks of an axis, with as many digits as tell them apart.
pub(crate) fn ticks(values: &[f64]) -> Vec<String> {
    let labels: Vec<String> = values.iter().map(|value| tick(*value)).collect();
    let is_told = labels.windows(2).all(|pair| pair[0] != pair[1]);
    let steps = values.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    let least = steps.fold(f64::INFINITY, f64::min);
    if is_told || least <= 0.0 {
        return labels;
    }
    // One digit more than the step's first: steps are 1, 2, 2.5 or 5 times a power of ten.
    let digits = (1 - least.log10().floor() as i32).clamp(0, 12) as usize;
    let label = |value: &f64| minus(&trimmed(&format!("{value:.digits$}")));
    values.iter().map(label).collect()
}

/// `0`, `500`, `1k`, `2.5M`.
fn tick(value: f64) -> String {
    let magnitude = value.abs();
    for (unit, suffix) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if magnitude >= unit {
            return minus(&format!(
                "{}{suffix}",
                trimmed(&format!("{:.2}", value / unit))
            ));
        }
    }
    short(value)
}

/// `42 s`, `12 min 5 s`, `3 h 20 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{} s", short(seconds)),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

fn exponential(value: f64) -> String {
    let text = format!("{value:.2e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) => format!("{}e{exponent}", trimmed(mantissa)),
        None => text,
    }
}

/// Without zeros at the end of a decimal fraction.
fn trimmed(text: &str) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text.to_owned()
    }
}

/// A minus sign as wide as a digit.
fn minus(text: &str) -> String {
    text.replace('-', "\u{2212}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.0, "0"),
            (0.5, "0.5"),
            (0.812_53, "0.8125"),
            (-12.5, "\u{2212}12.5"),
            (123.456, "123.5"),
            (98_765.4, "98765"),
            (3.1e-6, "3.1e\u{2212}6"),
            (2e7, "2e7"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(short(value), text);
        }
        assert_eq!(tick(2500.0), "2.5k");
        assert_eq!(tick(-0.25), "\u{2212}0.25");
        assert_eq!(ticks(&[0.0, 1000.0, 2000.0]), ["0", "1k", "2k"]);
        assert_eq!(
            ticks(&[0.385_69, 0.385_695, 0.3857]),
            ["0.38569", "0.385695", "0.3857"]
        );
        assert_eq!(signed(0.125, 3), "+0.125");
        assert_eq!(signed(-0.125, 3), "\u{2212}0.125");
        assert_eq!(duration(4.26), "4.26 s");
        assert_eq!(duration(725.0), "12 min 5 s");
        assert_eq!(duration(12_000.0), "3 h 20 min");
    }
}
