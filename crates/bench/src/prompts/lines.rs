//! Plain text and JSON lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use super::source::{MAX_ROW_BYTES, Visit};
use super::{Fault, Position, PromptsError, fault};
use crate::FileError;

/// A prompt a line, or, with a `column`, a JSON object a line.
pub(super) fn read(
    path: &Path,
    column: Option<&str>,
    visit: &mut Visit,
) -> Result<(), PromptsError> {
    let file = File::open(path).map_err(FileError::io("open", path))?;
    let mut file = BufReader::new(file);
    for number in 1.. {
        let line = bounded_line(&mut file).map_err(FileError::io("read", path))?;
        let Some(line) = line else { break };
        let text = line.and_then(|mut bytes| {
            // A byte order mark is the work of an editor.
            if number == 1 && bytes.starts_with(b"\xEF\xBB\xBF") {
                bytes.drain(..3);
            }
            let text = fault::text(bytes)?;
            match column {
                Some(column) if !text.trim().is_empty() => fault::json_column(&text, column),
                _ => Ok(text),
            }
        });
        visit(Position::Line(number), text)?;
    }
    Ok(())
}

/// The next line without its end, read over but not held if it is too long; none at the end of the file.
fn bounded_line(file: &mut impl BufRead) -> io::Result<Option<Result<Vec<u8>, Fault>>> {
    let mut line = Vec::new();
    let mut length = 0u64;
    loop {
        let buffer = file.fill_buf()?;
        if buffer.is_empty() && length == 0 {
            return Ok(None);
        }
        let end = buffer.iter().position(|&byte| byte == b'\n');
        let piece = &buffer[..end.unwrap_or(buffer.len())];
        length += piece.len() as u64;
        if length <= MAX_ROW_BYTES {
            line.extend_from_slice(piece);
        }
        let is_last = end.is_some() || buffer.is_empty();
        let used = end.map_or(buffer.len(), |end| end + 1);
        file.consume(used);
        if is_last {
            break;
        }
    }
    if length > MAX_ROW_BYTES {
        return Ok(Some(Err(Fault::TooLong {
            bytes: length,
            limit: MAX_ROW_BYTES,
        })));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(Ok(line)))
}
