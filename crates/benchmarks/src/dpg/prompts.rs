//! The 1,065 prompts of DPG-Bench as its repository has them: a folder with a text file for each, named after the item.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use dmdr_prompts::{FileError, check, text};

/// Prompts by item, from the `.txt` files of a folder such as `dpg_bench/prompts`. Hidden files are passed over: Macs
/// write `._1.txt` beside `1.txt`.
///
/// # Errors
/// A folder or file that cannot be read, or that holds no prompt.
pub fn read_prompts(folder: impl AsRef<Path>) -> Result<BTreeMap<String, String>, FileError> {
    let folder = folder.as_ref();
    let mut items = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(FileError::io("list", folder))? {
        let path = entry.map_err(FileError::io("list", folder))?.path();
        let name = path.file_stem().and_then(OsStr::to_str);
        let is_text = path
            .extension()
            .is_some_and(|ending| ending.eq_ignore_ascii_case("txt"));
        let Some(name) = name.filter(|name| is_text && !name.starts_with('.')) else {
            continue;
        };
        let text = text::read(&path)?;
        check(&text).map_err(|fault| FileError::line(&path, 1, format!("the prompt: {fault}")))?;
        items.insert(name.to_owned(), text.trim().to_owned());
    }
    Ok(items)
}
