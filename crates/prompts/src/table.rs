//! Comma- and tab-separated values with a header line.
//!
//! Of the `csv` crate only its state machine: its reader holds a record however long it grows, and after a lost quotation
//! mark that is the rest of the file.

use std::io::{self, BufRead};
use std::path::Path;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};

use crate::FileError;
use crate::row::{MAX_ROW_BYTES, Visit};
use crate::text::{self, Text};
use crate::{Fault, Position, PromptsError, fault};

/// The prompts under `column`; fields are quoted or not.
pub(super) fn read(
    path: &Path,
    delimiter: u8,
    quoting: bool,
    column: &str,
    visit: &mut Visit,
) -> Result<(), PromptsError> {
    let failed = || FileError::io("read", path);
    let mut records = Records::new(text::open(path)?, delimiter, quoting);
    let header = match records.next().map_err(failed())? {
        None => Vec::new(),
        Some((_, Ok(header))) => header.fields().map(<[u8]>::to_vec).collect(),
        Some((line, Err(fault))) => {
            return Err(FileError::line(path, line, fault.to_string()).into());
        }
    };
    let Some(place) = header.iter().position(|name| name == column.as_bytes()) else {
        let name = |name: &Vec<u8>| String::from_utf8_lossy(name).into_owned();
        return Err(PromptsError::NoColumn {
            path: path.to_owned(),
            column: column.to_owned(),
            has: header.iter().map(name).collect(),
        });
    };
    while let Some((line, record)) = records.next().map_err(failed())? {
        let text = record.and_then(|record| field(&record, place, header.len()));
        visit(Position::Line(line), text)?;
    }
    Ok(())
}

/// A row of another width is refused as a whole: an unquoted comma would cut the prompt short.
fn field(record: &Record, place: usize, width: usize) -> Result<String, Fault> {
    match record.fields().nth(place) {
        Some(field) if record.ends.len() == width => fault::text(field.to_vec()),
        _ => Err(Fault::Malformed {
            message: format!("{} fields, the header has {width}", record.ends.len()),
        }),
    }
}

/// Fields one after the other, without their quotation marks.
struct Record<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    fn fields(&self) -> impl Iterator<Item = &'a [u8]> {
        let (bytes, mut start) = (self.bytes, 0);
        self.ends.iter().map(move |&end| {
            let field = &bytes[start..end];
            start = end;
            field
        })
    }
}

/// The records of a file.
struct Records {
    file: Text,
    machine: Reader,
    quoting: bool,
    /// Of the file, from 1.
    line: u64,
    /// Whether the last byte was a CR: a LF behind it ends the same line.
    is_after_return: bool,
    /// Room for a record.
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    fn new(file: Text, delimiter: u8, quoting: bool) -> Self {
        let machine = ReaderBuilder::new()
            .delimiter(delimiter)
            .quoting(quoting)
            .build();
        Self {
            file,
            machine,
            quoting,
            line: 1,
            is_after_return: false,
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// The next record and its first line; one that is too long is read over but not held.
    fn next(&mut self) -> io::Result<Option<(u64, Result<Record<'_>, Fault>)>> {
        self.skip_line_ends()?;
        let line = self.line;
        let (mut num_bytes, mut num_ends) = (0, 0);
        let (mut length, mut num_marks) = (0, 0_u64);
        loop {
            let piece = self.file.fill_buf()?;
            let is_over = piece.is_empty();
            // A byte becomes at most a byte and the end of a field, and the file's end that of one more.
            grow(&mut self.bytes, num_bytes + piece.len() + 1);
            grow(&mut self.ends, num_ends + piece.len() + 1);
            let (bytes, ends) = (&mut self.bytes[num_bytes..], &mut self.ends[num_ends..]);
            let (result, read, written, ended) = self.machine.read_record(piece, bytes, ends);
            for &byte in &piece[..read] {
                num_marks += u64::from(byte == b'"');
                self.line += u64::from(ends_line(byte, &mut self.is_after_return));
            }
            self.file.consume(read);
            length += read as u64;
            (num_bytes, num_ends) = (num_bytes + written, num_ends + ended);
            if length > MAX_ROW_BYTES {
                (num_bytes, num_ends) = (0, 0);
            }
            match result {
                ReadRecordResult::End => return Ok(None),
                ReadRecordResult::Record => {
                    let is_open = self.quoting && is_over && self.line > line + 1;
                    let is_open = is_open && !num_marks.is_multiple_of(2);
                    let record = Record {
                        bytes: &self.bytes[..num_bytes],
                        ends: &self.ends[..num_ends],
                    };
                    return Ok(Some((line, checked(record, length, is_open))));
                }
                // There was room for the whole piece.
                ReadRecordResult::InputEmpty
                | ReadRecordResult::OutputFull
                | ReadRecordResult::OutputEndsFull => {}
            }
        }
    }

    /// Empty lines, and what is left of the two characters that end a line elsewhere: no record begins with them.
    fn skip_line_ends(&mut self) -> io::Result<()> {
        while let Some(&byte @ (b'\r' | b'\n')) = self.file.fill_buf()?.first() {
            self.line += u64::from(ends_line(byte, &mut self.is_after_return));
            self.file.consume(1);
        }
        Ok(())
    }
}

/// Whether `byte` ends a line that no byte before it has ended.
fn ends_line(byte: u8, is_after_return: &mut bool) -> bool {
    let was_after_return = std::mem::replace(is_after_return, byte == b'\r');
    byte == b'\r' || (byte == b'\n' && !was_after_return)
}

fn grow<T: Clone + Default>(room: &mut Vec<T>, len: usize) {
    if room.len() < len {
        room.resize(len, T::default());
    }
}

fn checked(record: Record<'_>, bytes: u64, is_open: bool) -> Result<Record<'_>, Fault> {
    let limit = MAX_ROW_BYTES;
    if bytes > limit {
        return Err(Fault::TooLong { bytes, limit });
    }
    if is_open {
        let message = "a quotation mark is not closed up to the end of the file".to_owned();
        return Err(Fault::Malformed { message });
    }
    Ok(record)
}
