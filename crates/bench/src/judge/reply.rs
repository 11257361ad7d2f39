//! Answers of language models, taken at their word: what is not exactly an answer is an error, never a guess.

use std::ops::RangeInclusive;

use super::JudgeError;
use super::error::shortened;

/// `yes` or `no` in any case, with a full stop at most.
pub(super) fn yes_no(reply: &str) -> Result<bool, JudgeError> {
    let word = reply.trim();
    let word = word.strip_suffix('.').unwrap_or(word);
    if word.eq_ignore_ascii_case("yes") {
        Ok(true)
    } else if word.eq_ignore_ascii_case("no") {
        Ok(false)
    } else {
        Err(unparsable("yes or no", reply))
    }
}

/// A number of `range` and nothing else.
pub(super) fn number(reply: &str, range: &RangeInclusive<f64>) -> Result<f64, JudgeError> {
    let number: Option<f64> = reply.trim().parse().ok();
    // NaN is in no range.
    number
        .filter(|number| range.contains(number))
        .ok_or_else(|| {
            let (least, most) = range.clone().into_inner();
            unparsable(&format!("a number from {least} to {most}"), reply)
        })
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
            "**yes**",
            "yes no",
        ] {
            yes_no(reply).expect_err(reply);
        }
    }

    #[test]
    fn only_numbers_of_the_range_are_numbers() {
        for (reply, expected) in [("7", 7.0), (" 0.5\n", 0.5), ("10", 10.0), ("1e0", 1.0)] {
            assert!((number(reply, &(0.0..=10.0)).expect(reply) - expected).abs() < 1e-12);
        }
        for reply in [
            "", "NaN", "inf", "11", "-1", "7/10", "7 of 10", "score: 7", "7,5",
        ] {
            let error = number(reply, &(0.0..=10.0)).expect_err(reply).to_string();
            assert!(error.contains("a number from 0 to 10"), "{error}");
        }
    }
}
