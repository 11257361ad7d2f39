//! Arrow's IPC formats, one text column of it, a record batch at a time.
//!
//! What `datasets` keeps on disk is the stream format; a file (Feather version 2) is the same stream between magic bytes, with
//! an index behind it that reading in order does not need.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch};
use arrow_ipc::reader::StreamReader;
use arrow_schema::{ArrowError, DataType, Schema};

use super::source::{MAX_ROW_BYTES, Visit};
use super::{Fault, Position, PromptsError, undamaged};
use crate::FileError;

/// The first and the last bytes of a file.
const MAGIC: &[u8; 6] = b"ARROW1";
/// The magic bytes of a file are followed by zeros up to a multiple of this, or more of them: some writers align to 64.
const ALIGNMENT: usize = 8;

/// The prompts of the text column called `column`.
pub(super) fn read(path: &Path, column: &str, visit: &mut Visit) -> Result<(), PromptsError> {
    let damaged = |source| PromptsError::Arrow {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(FileError::io("open", path))?;
    let is_whole = seek_stream(&mut file).map_err(FileError::io("read", path))?;
    if !is_whole {
        let cut = "the file is cut short: its last bytes are not ARROW1";
        return Err(damaged(ArrowError::ParseError(cut.to_owned())));
    }
    let file = BufReader::new(file);
    let mut stream = undamaged(|| StreamReader::try_new(file, None), panicked).map_err(damaged)?;
    let place = find(&stream.schema(), column, path)?;
    let mut number = 0;
    while let Some(batch) = undamaged(|| stream.next().transpose(), panicked).map_err(damaged)? {
        for row in prompts(&batch, place, column) {
            number += 1;
            visit(Position::Row(number), row)?;
        }
    }
    Ok(())
}

fn panicked() -> ArrowError {
    ArrowError::ParseError("the file is damaged".to_owned())
}

/// Goes to where the stream begins; whether the file ends as it began. A bare stream may end anywhere.
fn seek_stream(file: &mut File) -> std::io::Result<bool> {
    let mut magic = Vec::new();
    file.by_ref()
        .take(MAGIC.len() as u64)
        .read_to_end(&mut magic)?;
    if magic != MAGIC {
        file.rewind()?;
        return Ok(true);
    }
    magic.clear();
    file.seek(SeekFrom::End(-(MAGIC.len() as i64)))?;
    file.read_to_end(&mut magic)?;
    file.seek(SeekFrom::Start(ALIGNMENT as u64))?;
    let mut word = [0; ALIGNMENT];
    while word == [0; ALIGNMENT] {
        file.read_exact(&mut word)?;
    }
    file.seek(SeekFrom::Current(-(ALIGNMENT as i64)))?;
    Ok(magic == MAGIC)
}

/// The place of the column, if it holds text.
fn find(schema: &Arc<Schema>, column: &str, path: &Path) -> Result<usize, PromptsError> {
    let is_text = |kind: &DataType| {
        matches!(
            kind,
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        )
    };
    let fields = || {
        let fields = schema.fields().iter().enumerate();
        fields.filter(|(_, field)| is_text(field.data_type()))
    };
    let found = fields().find(|(_, field)| field.name() == column);
    found
        .map(|(place, _)| place)
        .ok_or_else(|| PromptsError::NoColumn {
            path: path.to_owned(),
            column: column.to_owned(),
            has: fields().map(|(_, field)| field.name().clone()).collect(),
        })
}

/// The rows of column `place`.
fn prompts(batch: &RecordBatch, place: usize, column: &str) -> Vec<Result<String, Fault>> {
    let texts = batch.column(place);
    let text = |row: usize| -> &str {
        match texts.data_type() {
            DataType::Utf8 => texts.as_string::<i32>().value(row),
            DataType::LargeUtf8 => texts.as_string::<i64>().value(row),
            _ => texts.as_string_view().value(row),
        }
    };
    let prompt = |row| {
        if texts.is_null(row) {
            return Err(Fault::MissingColumn {
                column: column.to_owned(),
            });
        }
        let (text, limit) = (text(row), MAX_ROW_BYTES);
        match text.len() as u64 {
            bytes if bytes > limit => Err(Fault::TooLong { bytes, limit }),
            _ => Ok(text.to_owned()),
        }
    };
    (0..batch.num_rows()).map(prompt).collect()
}
