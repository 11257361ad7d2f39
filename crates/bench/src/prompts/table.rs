//! Comma- and tab-separated values with a header line.

use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};

use super::source::{MAX_ROW_BYTES, Visit};
use super::{Fault, Position, PromptsError, fault};
use crate::FileError;

/// The prompts under `column`; fields are quoted or not.
pub(super) fn read(
    path: &Path,
    delimiter: u8,
    quoting: bool,
    column: &str,
    visit: &mut Visit,
) -> Result<(), PromptsError> {
    let wrong = |error: csv::Error| match error.into_kind() {
        csv::ErrorKind::Io(source) => FileError::io("read", path)(source),
        other => FileError::line(path, 1, format!("{other:?}")),
    };
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .quoting(quoting)
        .flexible(true)
        .from_path(path)
        .map_err(wrong)?;
    let header = reader.byte_headers().map_err(wrong)?.clone();
    let place = header.iter().position(|name| name == column.as_bytes());
    let Some(place) = place else {
        return Err(PromptsError::NoColumn {
            path: path.to_owned(),
            column: column.to_owned(),
            has: header
                .iter()
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect(),
        });
    };
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(wrong)? {
        let line = record.position().map_or(0, csv::Position::line);
        visit(Position::Line(line), field(&record, place, header.len()))?;
    }
    Ok(())
}

/// A row of another width is refused as a whole: an unquoted comma would cut the prompt short.
fn field(record: &ByteRecord, place: usize, width: usize) -> Result<String, Fault> {
    let bytes = record.as_slice().len() as u64;
    if bytes > MAX_ROW_BYTES {
        let limit = MAX_ROW_BYTES;
        return Err(Fault::TooLong { bytes, limit });
    }
    match record.get(place) {
        Some(field) if record.len() == width => fault::text(field.to_vec()),
        _ => Err(Fault::Malformed {
            message: format!("{} fields, the header has {width}", record.len()),
        }),
    }
}
