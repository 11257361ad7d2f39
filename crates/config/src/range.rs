//! Numbers with a checked range, for `#[serde(deserialize_with)]`.
//!
//! Fields stay plain numbers; a value out of range is an error at the value itself, with what was
//! found and what was expected.

use std::collections::BTreeMap;

use serde::de::{Error, Unexpected};
use serde::{Deserialize, Deserializer};

fn float<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &str,
    accept: impl Fn(f64) -> bool,
) -> Result<f64, D::Error> {
    let value = f64::deserialize(deserializer)?;
    if value.is_finite() && accept(value) {
        Ok(value)
    } else {
        Err(Error::invalid_value(Unexpected::Float(value), &expected))
    }
}

fn integer<'de, D: Deserializer<'de>>(
    deserializer: D,
    expected: &str,
    accept: impl Fn(u64) -> bool,
) -> Result<u64, D::Error> {
    let value = u64::deserialize(deserializer)?;
    if accept(value) {
        Ok(value)
    } else {
        Err(Error::invalid_value(Unexpected::Unsigned(value), &expected))
    }
}

pub(crate) fn finite<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    float(d, "a finite number", |_| true)
}

pub(crate) fn positive<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    float(d, "a number above 0", |x| x > 0.0)
}

pub(crate) fn non_negative<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    float(d, "a number of at least 0", |x| x >= 0.0)
}

pub(crate) fn below_one<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    float(d, "a number in [0, 1)", |x| (0.0..1.0).contains(&x))
}

/// A share that is not nothing.
pub(crate) fn share<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    float(d, "a number in (0, 1]", |x| x > 0.0 && x <= 1.0)
}

pub(crate) fn guidance<'de, D: Deserializer<'de>>(d: D) -> Result<f64, D::Error> {
    float(d, "a guidance of at least 1 (1 = no guidance)", |x| {
        x >= 1.0
    })
}

/// Ends of a range of guidance, the lower one first; they may be equal.
pub(crate) fn guidance_range<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<Option<[f64; 2]>, D::Error> {
    let ends = Vec::<f64>::deserialize(d)
        .map_err(|error| Error::custom(format!("expected a range such as [6.5, 7.5]: {error}")))?;
    let [low, high] = ends[..] else {
        return Err(Error::custom(format!(
            "expected a range of two numbers such as [6.5, 7.5], found {} of them",
            ends.len()
        )));
    };
    if 1.0 <= low && low <= high && high.is_finite() {
        return Ok(Some([low, high]));
    }
    Err(Error::custom(format!(
        "invalid range [{low}, {high}], expected the lower guidance first and both at least 1"
    )))
}

/// diffusers' pipelines with an encoder for long texts read up to 512 tokens.
pub(crate) fn sequence_length<'de, D: Deserializer<'de>>(d: D) -> Result<Option<usize>, D::Error> {
    let length = integer(d, "1 to 512 tokens", |n| (1..=512).contains(&n))?;
    Ok(Some(length as usize))
}

pub(crate) fn optional_share<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    share(d).map(Some)
}

/// A margin that may be absent.
pub(crate) fn optional_finite<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    finite(d).map(Some)
}

/// Words that are put before others.
pub(crate) fn prefix<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(d)?;
    if text.trim().is_empty() {
        return Err(Error::invalid_value(
            Unexpected::Str(&text),
            &"at least one word",
        ));
    }
    Ok(Some(text))
}

pub(crate) fn betas<'de, D: Deserializer<'de>>(d: D) -> Result<[f64; 2], D::Error> {
    let betas = <[f64; 2]>::deserialize(d)?;
    match betas.iter().find(|x| !(0.0..1.0).contains(*x)) {
        None => Ok(betas),
        Some(&bad) => Err(Error::invalid_value(
            Unexpected::Float(bad),
            &"two numbers in [0, 1)",
        )),
    }
}

pub(crate) fn positive_whole<'de, D: Deserializer<'de>>(d: D) -> Result<u64, D::Error> {
    integer(d, "a whole number of at least 1", |n| n >= 1)
}

pub(crate) fn ends<'de, D: Deserializer<'de>>(d: D) -> Result<[i64; 2], D::Error> {
    let [low, high] = <[i64; 2]>::deserialize(d)?;
    if low < high {
        Ok([low, high])
    } else {
        Err(Error::custom(format!(
            "invalid range [{low}, {high}], expected the lower end first"
        )))
    }
}

/// Values that JSON has as well: a date is none of them.
pub(crate) fn parameters<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<BTreeMap<String, toml::Value>, D::Error> {
    let parameters = BTreeMap::<String, toml::Value>::deserialize(d)?;
    match parameters.iter().find(|(_, value)| has_date(value)) {
        None => Ok(parameters),
        Some((name, _)) => Err(Error::custom(format!(
            "invalid parameter `{name}`, expected no date: write it as text"
        ))),
    }
}

fn has_date(value: &toml::Value) -> bool {
    match value {
        toml::Value::Datetime(_) => true,
        toml::Value::Array(values) => values.iter().any(has_date),
        toml::Value::Table(values) => values.values().any(has_date),
        _ => false,
    }
}

pub(crate) fn template<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let text = String::deserialize(d)?;
    if text.contains("{question}") {
        Ok(text)
    } else {
        Err(Error::invalid_value(
            Unexpected::Str(&text),
            &"a text with `{question}`, where the prompt goes",
        ))
    }
}

pub(crate) fn tile<'de, D: Deserializer<'de>>(d: D) -> Result<Option<usize>, D::Error> {
    let side = integer(d, "a multiple of 4", |n| n > 0 && n % 4 == 0)?;
    Ok(Some(side as usize))
}

pub(crate) fn count<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    integer(d, "a count of at least 1", |n| n >= 1).map(|n| n as usize)
}

/// A width of a network; more is a mistake that no memory holds.
pub(crate) fn width<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    integer(d, "a width of 1 to 65536", |n| (1..=65_536).contains(&n)).map(|n| n as usize)
}

/// Cells of a sheet of samples.
pub(crate) fn cells<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    integer(d, "1 to 1024 prompts", |n| (1..=1024).contains(&n)).map(|n| n as usize)
}

/// Steps of a teacher's grid: its times count to 1000.
pub(crate) fn grid<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    integer(d, "1 to 1000 steps", |n| (1..=1000).contains(&n)).map(|n| n as usize)
}

/// AlexNet's second pooling has nothing left of smaller images.
pub(crate) fn lpips_side<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    integer(d, "a side of at least 32 pixels", |n| n >= 32).map(|n| n as usize)
}

pub(crate) fn optional_count<'de, D: Deserializer<'de>>(d: D) -> Result<Option<usize>, D::Error> {
    count(d).map(Some)
}

pub(crate) fn group<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    integer(d, "at least 2 samples to compare", |n| n >= 2).map(|n| n as usize)
}

pub(crate) fn accumulate<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    integer(d, "1 to 65536 batches", |n| (1..=65_536).contains(&n)).map(|n| n as usize)
}

pub(crate) fn few_steps<'de, D: Deserializer<'de>>(d: D) -> Result<usize, D::Error> {
    integer(d, "1 to 8 steps", |n| (1..=8).contains(&n)).map(|n| n as usize)
}

/// The name of a run: it becomes a folder, so it is kept to portable characters.
pub(crate) fn folder_name<'de, D: Deserializer<'de>>(d: D) -> Result<String, D::Error> {
    let name = String::deserialize(d)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=100).contains(&name.len()) && !name.starts_with(['.', '-']) && name.chars().all(plain) {
        Ok(name)
    } else {
        Err(Error::invalid_value(
            Unexpected::Str(&name),
            &"a plain folder name: letters, digits, `-`, `_`, `.`, not starting with `.` or `-`",
        ))
    }
}

/// Glob patterns on layer names: at least one, none empty.
pub(crate) fn targets<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Vec<String>>, D::Error> {
    let targets = Vec::<String>::deserialize(d)?;
    if targets.is_empty() || targets.iter().any(|t| t.trim().is_empty()) {
        return Err(Error::custom(format!(
            "invalid targets {targets:?}, expected at least one non-empty glob pattern such as \"blocks.*\""
        )));
    }
    Ok(Some(targets))
}
