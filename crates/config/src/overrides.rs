//! `--set a.b.c=value`, applied to the TOML tree before it is deserialised.
//!
//! The tree keeps the place in the file of every key and value. What an override puts in gets the
//! place `OVERRIDE + its index`, far behind any file, so that an error about it can name the override.

use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use crate::error::ConfigError;

/// Place of the first override; no file is this long.
const OVERRIDE: usize = usize::MAX / 2;

/// Applies `key=value` arguments in order.
///
/// The value is TOML (`0.5`, `true`, `[0.9, 0.99]`, `{ linear = { .. } }`); what is not TOML is taken
/// as text (`cuda:1`). An empty value removes the key, so that an optional table can be switched off.
/// Elements of an array are addressed by index (`rewards.0.weight`).
pub(crate) fn apply<'a>(
    tree: &mut DeTable<'a>,
    arguments: &'a [String],
) -> Result<(), ConfigError> {
    for (index, argument) in arguments.iter().enumerate() {
        let error = |message: String| ConfigError::Override {
            argument: argument.clone(),
            message,
            hint: None,
        };
        let (key, text) = argument
            .split_once('=')
            .ok_or_else(|| error("expected `key=value`, found no `=`".to_owned()))?;
        let path: Vec<&str> = key.trim().split('.').map(str::trim).collect();
        if path.iter().any(|part| part.is_empty()) {
            return Err(error(format!(
                "`{key}` is not a dotted key such as `method.dmdr.ttur`"
            )));
        }
        let value = value(text.trim(), index).map_err(&error)?;
        set(tree, &path, value, index).map_err(error)?;
    }
    Ok(())
}

/// The override an error is about, if it is about one.
pub(crate) fn culprit<'a>(error: &Error, arguments: &'a [String]) -> Option<&'a String> {
    arguments.get(error.span()?.start.checked_sub(OVERRIDE)?)
}

/// `None` for an empty value, which removes the key.
fn value(text: &str, index: usize) -> Result<Option<DeValue<'_>>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match DeValue::parse(text) {
        Ok(parsed) => {
            let mut value = parsed.into_inner();
            mark(&mut value, index);
            Ok(Some(value))
        }
        // Text without quotes, as shells leave it; brackets and quotes were meant as TOML.
        Err(error) if text.starts_with(['[', '{', '"', '\'']) => {
            Err(format!("the value is not TOML: {}", error.message()))
        }
        Err(_) => Ok(Some(DeValue::String(text.into()))),
    }
}

fn set<'a>(
    table: &mut DeTable<'a>,
    path: &[&'a str],
    value: Option<DeValue<'a>>,
    index: usize,
) -> Result<(), String> {
    let Some((&key, rest)) = path.split_first() else {
        return Ok(());
    };
    if rest.is_empty() {
        match value {
            Some(value) => {
                table.insert(at(key.into(), index), at(value, index));
            }
            None => {
                table
                    .remove(key)
                    .ok_or_else(|| format!("there is no `{key}` to remove"))?;
            }
        }
        return Ok(());
    }
    let child = table
        .entry(at(key.into(), index))
        .or_insert_with(|| at(DeValue::Table(DeTable::new()), index));
    if let DeValue::Array(array) = child.get_mut() {
        let len = array.len();
        let (position, rest) = (rest[0], &rest[1..]);
        let element = position
            .parse::<usize>()
            .ok()
            .and_then(|position| array.get_mut(position))
            .ok_or_else(|| {
                format!(
                    "`{key}` is a list of {len}, expected an index below {len}, found `{position}`"
                )
            })?;
        return match (rest.is_empty(), element.get_mut(), value) {
            (true, _, Some(value)) => {
                *element = at(value, index);
                Ok(())
            }
            (true, _, None) => Err(format!("cannot remove one element of `{key}`")),
            (false, DeValue::Table(table), value) => set(table, rest, value, index),
            (false, _, _) => Err(format!("`{key}.{position}` is not a table")),
        };
    }
    if !matches!(child.get_ref(), DeValue::Table(_)) {
        // `tuning = "full"` becomes `[tuning.lora]`.
        *child = at(DeValue::Table(DeTable::new()), index);
    }
    match child.get_mut() {
        DeValue::Table(table) => set(table, rest, value, index),
        _ => Ok(()),
    }
}

fn at<T>(value: T, index: usize) -> Spanned<T> {
    Spanned::new(OVERRIDE + index..OVERRIDE + index, value)
}

/// Gives everything inside a value the place of its override.
fn mark(value: &mut DeValue<'_>, index: usize) {
    match value {
        DeValue::Array(array) => {
            for element in array.iter_mut() {
                mark(element.get_mut(), index);
                *element = at(
                    std::mem::replace(element.get_mut(), DeValue::Boolean(false)),
                    index,
                );
            }
        }
        DeValue::Table(table) => {
            let entries = std::mem::take(table);
            for (key, entry) in entries {
                let mut inner = entry.into_inner();
                mark(&mut inner, index);
                table.insert(at(key.into_inner(), index), at(inner, index));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
