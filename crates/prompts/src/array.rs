//! One JSON array of objects, as `json.dump` writes a list; an element at a time. Writers of tables (datasets, DuckDB)
//! call JSON lines `.json` as well: what begins with an object is read so.
//!
//! Elements are told apart by their brackets and strings alone, and each is then parsed by itself. A parser of the whole
//! (serde's `visit_seq`) would stop at the first bad element, and hold one without bounds.

use std::io::{self, BufRead};
use std::path::Path;

use crate::row::{MAX_ROW_BYTES, Visit};
use crate::{Fault, Position, PromptsError, fault, lines};
use crate::{FileError, text};

/// The prompts under `column` of the array's objects.
pub(super) fn read(path: &Path, column: &str, visit: &mut Visit) -> Result<(), PromptsError> {
    let failed = || FileError::io("read", path);
    let wrong = |after, reason| PromptsError::JsonArray {
        path: path.to_owned(),
        after,
        reason,
    };
    let mut file = text::open(path)?;
    match next_byte(&mut file).map_err(failed())? {
        Some(b'[') => {}
        Some(b'{') => return lines::read(path, Some(column), visit),
        _ => return Err(wrong(0, "expected `[` or `{` at its start")),
    }
    for number in 1.. {
        let Element { bytes, end } = Element::next(&mut file).map_err(failed())?;
        let is_empty = matches!(&bytes, Ok(bytes) if bytes.trim_ascii().is_empty());
        if end.is_none() {
            return Err(wrong(
                number - 1,
                "it is cut short: expected `]` at its end",
            ));
        }
        if !(is_empty && number == 1 && end == Some(b']')) {
            let text = bytes.and_then(fault::text);
            let text = text.and_then(|text| fault::json_column(&text, column));
            visit(Position::Row(number), text)?;
        }
        if end == Some(b']') {
            if next_byte(&mut file).map_err(failed())?.is_some() {
                return Err(wrong(number, "there is more behind its `]`"));
            }
            break;
        }
    }
    Ok(())
}

/// The next byte that is no white space.
fn next_byte(file: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let Some(&byte) = file.fill_buf()?.first() else {
            return Ok(None);
        };
        file.consume(1);
        if !byte.is_ascii_whitespace() {
            return Ok(Some(byte));
        }
    }
}

/// The bytes up to a comma or bracket between elements.
struct Element {
    /// None of one that is too long.
    bytes: Result<Vec<u8>, Fault>,
    /// Which it is that ends them; none at the end of the file.
    end: Option<u8>,
}

impl Element {
    /// What comes next; an element that is too long is read over but not held.
    fn next(file: &mut impl BufRead) -> io::Result<Self> {
        let mut scanner = Scanner::default();
        let (mut bytes, mut length) = (Vec::new(), 0_u64);
        let end = loop {
            let piece = file.fill_buf()?;
            let end = piece.iter().position(|&byte| scanner.ends(byte));
            let used = end.unwrap_or(piece.len());
            length += used as u64;
            if length <= MAX_ROW_BYTES {
                bytes.extend_from_slice(&piece[..used]);
            }
            let (last, is_over) = (end.map(|end| piece[end]), piece.is_empty());
            file.consume(used + usize::from(last.is_some()));
            if last.is_some() || is_over {
                break last;
            }
        };
        let limit = MAX_ROW_BYTES;
        let bytes = match length {
            bytes if bytes > limit => Err(Fault::TooLong { bytes, limit }),
            _ => Ok(bytes),
        };
        Ok(Self { bytes, end })
    }
}

/// Where an element is.
#[derive(Default)]
struct Scanner {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Scanner {
    /// Whether the next byte lies behind the element.
    fn ends(&mut self, byte: u8) -> bool {
        if self.in_string {
            self.in_string = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b',' | b']' if self.depth == 0 => return true,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        false
    }
}
