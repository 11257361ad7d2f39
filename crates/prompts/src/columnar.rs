//! Apache Parquet, one text column of it, a thousand rows at a time.

use std::fs::File;
use std::path::Path;

use parquet::basic::{ConvertedType, LogicalType, Type};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::schema::types::{ColumnDescPtr, SchemaDescriptor};

use crate::FileError;
use crate::row::{MAX_ROW_BYTES, Visit};
use crate::{Fault, Position, PromptsError, fault, undamaged};

const ROWS_AT_A_TIME: usize = 1024;

/// The prompts under `column`, which is not in a list; `a.b` is field `b` of structure `a`.
pub(super) fn read(path: &Path, column: &str, visit: &mut Visit) -> Result<(), PromptsError> {
    let file = File::open(path).map_err(FileError::io("open", path))?;
    let file = whole(path, || SerializedFileReader::new(file))?;
    let schema = file.metadata().file_metadata().schema_descr();
    let place = find(schema, column, path)?;
    let full_level = schema.column(place).max_def_level();
    let mut number = 0;
    for group in 0..file.num_row_groups() {
        let group = whole(path, || file.get_row_group(group))?;
        let ColumnReader::ByteArrayColumnReader(mut reader) =
            whole(path, || group.get_column_reader(place))?
        else {
            unreachable!("the schema says that the column holds bytes");
        };
        loop {
            let rows = whole(path, || next_rows(&mut reader, full_level, column))?;
            if rows.is_empty() {
                break;
            }
            for row in rows {
                number += 1;
                visit(Position::Row(number), row)?;
            }
        }
    }
    Ok(())
}

/// What `read` gives, where the file is whole.
fn whole<T>(
    path: &Path,
    read: impl FnOnce() -> Result<T, ParquetError>,
) -> Result<T, PromptsError> {
    let panicked = || ParquetError::General("the file is damaged".to_owned());
    undamaged(read, panicked).map_err(|source| PromptsError::Parquet {
        path: path.to_owned(),
        source,
    })
}

/// The column of that name, if it holds text.
fn find(schema: &SchemaDescriptor, column: &str, path: &Path) -> Result<usize, PromptsError> {
    let leaves = schema.columns().iter().enumerate();
    let texts = leaves.filter(|(_, leaf)| is_text(leaf));
    let texts: Vec<(usize, String)> = texts
        .map(|(place, leaf)| (place, leaf.path().string()))
        .collect();
    if let Some((place, _)) = texts.iter().find(|(_, name)| name == column) {
        return Ok(*place);
    }
    let below = format!("{column}.");
    let named = schema.columns().iter().find(|leaf| {
        let name = leaf.path().string();
        name == column || name.starts_with(&below)
    });
    let has = texts.into_iter().map(|(_, name)| name).collect();
    Err(PromptsError::no_text(path, column, named.map(kind), has))
}

/// Whether a column holds one text a row. Bytes that do not say what they are may be text: old writers say nothing.
fn is_text(leaf: &ColumnDescPtr) -> bool {
    let is_bytes = leaf.physical_type() == Type::BYTE_ARRAY && leaf.max_rep_level() == 0;
    let says_text = matches!(
        leaf.logical_type_ref(),
        None | Some(LogicalType::String | LogicalType::Enum)
    );
    let converted = leaf.converted_type();
    let said_text = matches!(
        converted,
        ConvertedType::NONE | ConvertedType::UTF8 | ConvertedType::ENUM
    );
    is_bytes && says_text && said_text
}

/// What a column holds that holds no text, in words.
fn kind(leaf: &ColumnDescPtr) -> String {
    if leaf.max_rep_level() > 0 {
        return "a list".to_owned();
    }
    if leaf.path().parts().len() > 1 {
        return "a structure".to_owned();
    }
    match leaf.logical_type_ref() {
        Some(kind) => format!("{kind:?}"),
        None => leaf.physical_type().to_string(),
    }
}

/// The next rows of a row group, whose definition level is `full_level` where there is a value; none at its end.
fn next_rows(
    reader: &mut ColumnReaderImpl<ByteArrayType>,
    full_level: i16,
    column: &str,
) -> Result<Vec<Result<String, Fault>>, ParquetError> {
    let (mut values, mut levels) = (Vec::new(), Vec::new());
    let (num_rows, _, _) = reader.read_records(
        ROWS_AT_A_TIME,
        (full_level > 0).then_some(&mut levels),
        None,
        &mut values,
    )?;
    let mut values = values.into_iter();
    // A level below the full one means that the value, or a structure around it, is null. No levels: none can be.
    let rows = (0..num_rows).map(|row| {
        let is_null = levels.get(row).is_some_and(|&level| level < full_level);
        let value = if is_null { None } else { values.next() };
        let missing = || Fault::MissingColumn {
            column: column.to_owned(),
        };
        value.ok_or_else(missing).and_then(|value| text(&value))
    });
    Ok(rows.collect())
}

fn text(value: &ByteArray) -> Result<String, Fault> {
    let bytes = value.len() as u64;
    if bytes > MAX_ROW_BYTES {
        let limit = MAX_ROW_BYTES;
        return Err(Fault::TooLong { bytes, limit });
    }
    fault::text(value.data().to_vec())
}
