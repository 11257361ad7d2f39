//! Answers of language models, taken at their word: what is not exactly an answer is an error, never a guess.

use std::ops::RangeInclusive;

use crate::JudgeError;
use crate::chat::after_thinking;
use crate::error::shortened;

/// `yes` or `no` in any case, with a full stop or emphasis at most.
pub(super) fn yes_no(reply: &str) -> Result<bool, JudgeError> {
    let word = spoken(reply).map(plain).unwrap_or_default();
    if word.eq_ignore_ascii_case("yes") {
        Ok(true)
    } else if word.eq_ignore_ascii_case("no") {
        Ok(false)
    } else {
        Err(unparsable("yes or no", reply))
    }
}

/// A number of `range`, and what cannot change it: a label such as `Score:`, emphasis, a full stop, and `/10` or
/// `out of 10` where the range ends at 10. A comma is no decimal point: `7,5` may be two numbers.
pub(super) fn number(reply: &str, range: &RangeInclusive<f64>) -> Result<f64, JudgeError> {
    let number = spoken(reply).and_then(|text| strict_number(text, *range.end()));
    // NaN is in no range.
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (least, most) = range.clone().into_inner();
            unparsable(&format!("a number from {least} to {most}"), reply)
        })
}

/// The answer of a model that may have thought before.
fn spoken(reply: &str) -> Option<&str> {
    after_thinking(reply).map(str::trim)
}

/// Without a full stop and the marks of emphasis and quotation around it.
fn plain(text: &str) -> &str {
    let is_mark = |c: char| c.is_whitespace() || matches!(c, '*' | '_' | '`' | '"');
    let text = text.trim_matches(is_mark);
    text.strip_suffix('.').unwrap_or(text).trim_matches(is_mark)
}

/// The number in `text`, on a scale that ends at `most`.
fn strict_number(text: &str, most: f64) -> Option<f64> {
    let is_label = |label: &str| {
        let label = plain(label);
        let labels = ["score", "rating", "answer"];
        labels.iter().any(|known| label.eq_ignore_ascii_case(known))
    };
    let text = match text.split_once(':') {
        Some((label, rest)) if is_label(label) => rest,
        _ => text,
    };
    let text = plain(text);
    let scaled = text.split_once('/').or_else(|| text.split_once(" out of "));
    let Some((number, scale)) = scaled else {
        return text.parse().ok();
    };
    // Another scale would be another number.
    let is_scale = plain(scale).parse() == Ok(most);
    is_scale.then(|| plain(number).parse().ok())?
}

fn unparsable(expected: &str, reply: &str) -> JudgeError {
    JudgeError::Unparsable {
        expected: expected.to_owned(),
        reply: shortened(reply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_and_no_are_yes_and_no() {
        for (reply, expected) in [
            ("yes", true),
            (" Yes.\n", true),
            ("NO", false),
            ("no.", false),
            ("**Yes**", true),
            ("\"No.\"", false),
            ("<think>No? Well.</think>\n\nYes", true),
        ] {
            assert_eq!(yes_no(reply).expect(reply), expected);
        }
        for reply in [
            "",
            "yes, it is",
            "no!",
            "yes..",
            "not",
            "true",
            "yes no",
            "<think>yes",
            "<think>yes</think>",
            "no, but yes",
        ] {
            yes_no(reply).expect_err(reply);
        }
    }

    #[test]
    fn only_numbers_of_the_range_are_numbers() {
        let least_and_most = 0.0..=10.0;
        for (reply, expected) in [
            ("7", 7.0),
            (" 0.5\n", 0.5),
            ("10", 10.0),
            ("1e0", 1.0),
            ("7.", 7.0),
            ("7.5.", 7.5),
            ("**8**", 8.0),
            ("`8`", 8.0),
            ("8/10", 8.0),
            ("**8 / 10**.", 8.0),
            ("**8**/10", 8.0),
            ("10/10", 10.0),
            ("8 out of 10", 8.0),
            ("Score: 7.5", 7.5),
            ("**Score:** 7.5/10.0", 7.5),
            ("Rating: **3**", 3.0),
            ("answer:7", 7.0),
            ("<think>At first 3/10, then 9.</think>\n\n7", 7.0),
            ("3 or 4?</think>4", 4.0),
        ] {
            let found = number(reply, &least_and_most).expect(reply);
            assert!((found - expected).abs() < 1e-12, "{reply}: {found}");
        }
        for reply in [
            "",
            "NaN",
            "inf",
            "11",
            "-1",
            "7 of 10",
            "7,5",
            "7/5",
            "7/100",
            "70%",
            "7-8",
            "7 or 8",
            "7 8",
            "/10",
            "7/",
            "7/10/10",
            "8 out of ten",
            "seven",
            "Step 1: 7",
            "not: 7",
            "Score: high",
            "Score: 7 (good)",
            "It is a 7",
            "7\n\nThe image shows it",
            "<think>7",
            "<think>7</think>",
            "\u{FF17}",
            "7 points",
        ] {
            let error = number(reply, &least_and_most).expect_err(reply).to_string();
            assert!(error.contains("a number from 0 to 10"), "{error}");
        }
    }
}
