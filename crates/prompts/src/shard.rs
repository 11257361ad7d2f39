//! WebDataset shards: tar archives whose members `key.json` or `key.txt` carry the prompts.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

use crate::row::{MAX_ROW_BYTES, Visit};
use crate::{Fault, Position, PromptsError, fault};
use crate::{FileError, text};

/// The prompts of `.txt` members if `column` is `txt`, otherwise those under `column` of `.json` members.
pub(super) fn read(path: &Path, column: &str, visit: &mut Visit) -> Result<(), PromptsError> {
    let ending = if column == "txt" { "txt" } else { "json" };
    let mut archive = tar::Archive::new(text::unpacked(path)?);
    for member in archive.entries().map_err(FileError::io("read", path))? {
        let mut member = member.map_err(FileError::io("read", path))?;
        let name = String::from_utf8_lossy(&member.path_bytes()).into_owned();
        let (key, found) = (Path::new(&name).file_name(), Path::new(&name).extension());
        let is_prompt = found.is_some_and(|found| found.eq_ignore_ascii_case(ending));
        // Macs add such a member to every file: what their file system knows of it.
        let is_prompt = is_prompt && !key.is_some_and(is_hidden);
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

/// Whether a file is none of the user's: its name begins with a full stop.
fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".")
}
