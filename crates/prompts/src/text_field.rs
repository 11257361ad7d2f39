//! The column of text in a schema of Arrow, also inside structures.

use std::path::Path;

use arrow_schema::{DataType, Field, Fields, Schema};

use crate::PromptsError;

/// The places of `column`, if it holds text: `a.b` is field `b` of structure `a`. A name that has a full stop itself
/// comes first.
///
/// # Errors
/// No such column, or one that holds something else.
pub(super) fn find(schema: &Schema, column: &str, path: &Path) -> Result<Vec<usize>, PromptsError> {
    let fields = schema.fields();
    let found = places(fields, column);
    let kind = match &found {
        Some((places, field)) if is_text(field.data_type()) => return Ok(places.clone()),
        Some((_, field)) => Some(kind(field.data_type())),
        None => None,
    };
    let mut has = Vec::new();
    text_names(fields, "", &mut has);
    Err(PromptsError::no_text(path, column, kind, has))
}

/// Text, or numbers that stand for text: categories of pandas and polars.
fn is_text(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, words) => is_text(words),
        _ => false,
    }
}

/// In words.
fn kind(kind: &DataType) -> String {
    match kind {
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => "a list".to_owned(),
        DataType::Struct(_) => "a structure".to_owned(),
        other => other.to_string(),
    }
}

/// The places of a field in the structures around it, and the field.
fn places<'a>(fields: &'a Fields, name: &str) -> Option<(Vec<usize>, &'a Field)> {
    if let Some((place, field)) = fields.find(name) {
        return Some((vec![place], field));
    }
    fields.iter().enumerate().find_map(|(place, field)| {
        let DataType::Struct(inner) = field.data_type() else {
            return None;
        };
        let rest = name
            .strip_prefix(field.name().as_str())?
            .strip_prefix('.')?;
        let (mut behind, field) = places(inner, rest)?;
        behind.insert(0, place);
        Some((behind, field))
    })
}

/// Adds the names of all fields of text.
fn text_names(fields: &Fields, before: &str, names: &mut Vec<String>) {
    for field in fields {
        let name = format!("{before}{}", field.name());
        match field.data_type() {
            DataType::Struct(inner) => text_names(inner, &format!("{name}."), names),
            kind if is_text(kind) => names.push(name),
            _ => {}
        }
    }
}
