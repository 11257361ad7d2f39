//! Rows that are no prompts: what is wrong and where.

use std::fmt;
use std::path::PathBuf;

use crate::json_lines::message;
use crate::text::BYTE_ORDER_MARK;

/// Where a row is in its file, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// A line of text; of a record over several lines the first.
    Line(u64),
    /// A row of a columnar file.
    Row(u64),
    /// A member of an archive.
    Member(String),
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(number) => write!(f, "line {number}"),
            Self::Row(number) => write!(f, "row {number}"),
            Self::Member(name) => write!(f, "member `{name}`"),
        }
    }
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Bytes that are not text.
    #[error("not UTF-8 from byte {from} on; save the file as UTF-8")]
    NotUtf8 {
        /// The first wrong byte, from 0 at the start of the row.
        from: usize,
    },
    /// The row lacks the column, or has nothing there.
    #[error("no column `{column}`")]
    MissingColumn {
        /// The column.
        column: String,
    },
    /// The column holds something else than text.
    #[error("column `{column}` is not text")]
    NotText {
        /// The column.
        column: String,
    },
    /// A character that no prompt has; text of UTF-16 that is read as UTF-8 is full of it.
    #[error("holds a NUL; is the file UTF-16? Save it as UTF-8")]
    Nul,
    /// Nothing that can be seen.
    #[error("empty")]
    Empty,
    /// More bytes than any prompt has: a sign of a wrong format or a lost quotation mark.
    #[error("{bytes} bytes, at most {limit}")]
    TooLong {
        /// Found.
        bytes: u64,
        /// Allowed.
        limit: u64,
    },
    /// Not the record that the format promises.
    #[error("{message}")]
    Malformed {
        /// What the parser says.
        message: String,
    },
}

impl Fault {
    /// The kind, for counting.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotUtf8 { .. } => "not UTF-8",
            Self::MissingColumn { .. } => "missing column",
            Self::NotText { .. } => "not text",
            Self::Nul => "NUL",
            Self::Empty => "empty",
            Self::TooLong { .. } => "too long",
            Self::Malformed { .. } => "malformed",
        }
    }
}

/// A fault and its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` {position}: {fault}", path.display())]
pub struct BadRow {
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub position: Position,
    /// What is wrong.
    pub fault: Fault,
}

/// Whether `text` can be a prompt.
///
/// Other control characters than NUL stay: captions from the web hold a few, and tokenizers read them as those that
/// they were trained with. NUL is never meant, and keys of caches are made with it.
///
/// # Errors
/// A NUL, or nothing that can be seen: white space, control characters and characters without width.
pub fn check(text: &str) -> Result<(), Fault> {
    let is_seen = |c: char| {
        let has_no_width = matches!(c, '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}');
        !(c.is_whitespace() || c.is_control() || has_no_width)
    };
    if text.contains('\0') {
        return Err(Fault::Nul);
    }
    if !text.contains(is_seen) {
        return Err(Fault::Empty);
    }
    Ok(())
}

/// Bytes as text, from behind a byte order mark.
pub(super) fn text(mut bytes: Vec<u8>) -> Result<String, Fault> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    String::from_utf8(bytes).map_err(|error| Fault::NotUtf8 {
        from: error.utf8_error().valid_up_to(),
    })
}

/// The text under `column` of a JSON object.
pub(super) fn json_column(record: &str, column: &str) -> Result<String, Fault> {
    let record: serde_json::Value =
        serde_json::from_str(record).map_err(|error| Fault::Malformed {
            message: message(&error),
        })?;
    let Some(record) = record.as_object() else {
        let message = "not a JSON object".to_owned();
        return Err(Fault::Malformed { message });
    };
    let column = || column.to_owned();
    match record.get(&column()) {
        None | Some(serde_json::Value::Null) => Err(Fault::MissingColumn { column: column() }),
        Some(serde_json::Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(Fault::NotText { column: column() }),
    }
}
