//! Plain text and JSON lines.

use std::path::Path;

use crate::FileError;
use crate::row::{MAX_ROW_BYTES, Visit};
use crate::text::{self, Line};
use crate::{Fault, Position, PromptsError, fault};

/// A prompt a line, or, with a `column`, a JSON object a line.
pub(super) fn read(
    path: &Path,
    column: Option<&str>,
    visit: &mut Visit,
) -> Result<(), PromptsError> {
    let mut file = text::open(path)?;
    for number in 1.. {
        let line = text::next_line(&mut file, MAX_ROW_BYTES);
        let text = match line.map_err(FileError::io("read", path))? {
            None => break,
            Some(Line::TooLong { bytes }) => Err(Fault::TooLong {
                bytes,
                limit: MAX_ROW_BYTES,
            }),
            Some(Line::Whole(bytes)) => fault::text(bytes),
        };
        let text = text.and_then(|text| match column {
            Some(column) if !text.trim().is_empty() => fault::json_column(&text, column),
            _ => Ok(text),
        });
        visit(Position::Line(number), text)?;
    }
    Ok(())
}
