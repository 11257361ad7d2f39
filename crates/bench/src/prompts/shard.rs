//! WebDataset shards: tar archives whose members `key.json` or `key.txt` carry the prompts.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::source::{MAX_ROW_BYTES, Visit};
use super::{Fault, Position, PromptsError, fault};
use crate::FileError;

/// The prompts of `.txt` members if `column` is `txt`, otherwise those under `column` of `.json` members.
pub(super) fn read(path: &Path, column: &str, visit: &mut Visit) -> Result<(), PromptsError> {
    let ending = if column == "txt" { "txt" } else { "json" };
    let file = File::open(path).map_err(FileError::io("open", path))?;
    let mut archive = tar::Archive::new(BufReader::new(file));
    for member in archive.entries().map_err(FileError::io("read", path))? {
        let mut member = member.map_err(FileError::io("read", path))?;
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let is_prompt = Path::new(&name).extension() == Some(OsStr::new(ending));
        if !is_prompt || !member.header().entry_type().is_file() {
            continue;
        }
        let text = if member.size() > MAX_ROW_BYTES {
            let (bytes, limit) = (member.size(), MAX_ROW_BYTES);
            Err(Fault::TooLong { bytes, limit })
        } else {
            let mut bytes = Vec::new();
            member
                .read_to_end(&mut bytes)
                .map_err(FileError::io("read", path))?;
            fault::text(bytes)
        };
        let text = text.and_then(|text| match ending {
            "json" => fault::json_column(&text, column),
            _ => Ok(text),
        });
        visit(Position::Member(name), text)?;
    }
    Ok(())
}
