//! Arrow's IPC formats, one text column of it, a record batch at a time.
//!
//! What `datasets` keeps on disk is the stream format. A file (Feather version 2) has magic bytes around it and an index
//! at its end, which is the only way in: polars begins its files in a way that no stream begins.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchReader};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_schema::{ArrowError, DataType};

use crate::FileError;
use crate::row::{MAX_ROW_BYTES, Visit};
use crate::text_field::find;
use crate::{Fault, Position, PromptsError, claims, undamaged};

/// The first and the last bytes of a file.
const MAGIC: &[u8; 6] = b"ARROW1";
/// The first bytes of a file of Feather version 1, which is another format.
const OLD_MAGIC: &[u8; 4] = b"FEA1";

/// The prompts of the text column called `column`.
pub(super) fn read(path: &Path, column: &str, visit: &mut Visit) -> Result<(), PromptsError> {
    let damaged = |source| PromptsError::Arrow {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(FileError::io("open", path))?;
    let [first, last] = ends(&mut file).map_err(FileError::io("read", path))?;
    let problem = if first.starts_with(OLD_MAGIC) {
        Some("it is Feather version 1; write it anew as version 2, the default since 2020")
    } else if first == MAGIC && last != MAGIC {
        Some("the file is cut short: its last bytes are not ARROW1")
    } else {
        None
    };
    if let Some(problem) = problem {
        return Err(damaged(ArrowError::ParseError(problem.to_owned())));
    }
    if !claims::are_possible(&mut file, first == MAGIC).map_err(FileError::io("read", path))? {
        return Err(damaged(panicked()));
    }
    let file = BufReader::new(file);
    let open = || -> Result<Box<dyn RecordBatchReader>, ArrowError> {
        Ok(if first == MAGIC {
            Box::new(FileReader::try_new(file, None)?)
        } else {
            Box::new(StreamReader::try_new(file, None)?)
        })
    };
    let mut batches = undamaged(open, panicked).map_err(damaged)?;
    let places = find(&batches.schema(), column, path)?;
    let mut number = 0;
    while let Some(batch) = undamaged(|| batches.next().transpose(), panicked).map_err(damaged)? {
        for row in prompts(&batch, &places, column) {
            number += 1;
            visit(Position::Row(number), row)?;
        }
    }
    Ok(())
}

fn panicked() -> ArrowError {
    ArrowError::ParseError("the file is damaged".to_owned())
}

/// The first and the last bytes; the file is then at its beginning.
fn ends(file: &mut File) -> std::io::Result<[Vec<u8>; 2]> {
    let mut both = [Vec::new(), Vec::new()];
    let len = file.metadata()?.len();
    for (start, bytes) in [0, len.saturating_sub(MAGIC.len() as u64)]
        .into_iter()
        .zip(&mut both)
    {
        file.seek(SeekFrom::Start(start))?;
        let mut end = file.by_ref().take(MAGIC.len() as u64);
        end.read_to_end(bytes)?;
    }
    file.rewind()?;
    Ok(both)
}

/// The rows of the column at `places`, each that of a field in the one before.
fn prompts(batch: &RecordBatch, places: &[usize], column: &str) -> Vec<Result<String, Fault>> {
    let (first, rest) = places.split_first().expect("a column has a place");
    let mut around = Vec::new();
    let mut texts = batch.column(*first);
    for place in rest {
        around.push(texts);
        texts = texts.as_struct().column(*place);
    }
    let missing = || Fault::MissingColumn {
        column: column.to_owned(),
    };
    let prompt = |(row, text): (usize, Option<&str>)| {
        let is_there = around.iter().all(|structure| structure.is_valid(row));
        let text = text.filter(|_| is_there).ok_or_else(missing)?;
        match text.len() as u64 {
            bytes if bytes > MAX_ROW_BYTES => Err(Fault::TooLong {
                bytes,
                limit: MAX_ROW_BYTES,
            }),
            _ => Ok(text.to_owned()),
        }
    };
    let texts = self::texts(texts);
    texts.into_iter().enumerate().map(prompt).collect()
}

/// The rows of an array of text; of one with a dictionary, the words that its keys stand for.
fn texts(array: &ArrayRef) -> Vec<Option<&str>> {
    match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().collect(),
        DataType::LargeUtf8 => array.as_string::<i64>().iter().collect(),
        DataType::Utf8View => array.as_string_view().iter().collect(),
        _ => {
            let array = array.as_any_dictionary();
            let words = texts(array.values());
            if words.is_empty() {
                return vec![None; array.len()]; // every key is null
            }
            let keys = array.normalized_keys().into_iter().enumerate();
            keys.map(|(row, key)| words[key].filter(|_| array.is_valid(row)))
                .collect()
        }
    }
}
