//! The 1,065 prompts of DPG-Bench as its repository has them: a folder with a text file for each, named after the item.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::FileError;

/// Prompts by item, from the `.txt` files of a folder such as `dpg_bench/prompts`.
///
/// # Errors
/// A folder or file that cannot be read, or that is empty.
pub fn read_prompts(folder: impl AsRef<Path>) -> Result<BTreeMap<String, String>, FileError> {
    let folder = folder.as_ref();
    let mut prompts = BTreeMap::new();
    for entry in fs::read_dir(folder).map_err(FileError::io("list", folder))? {
        let path = entry.map_err(FileError::io("list", folder))?.path();
        let name = path.file_stem().and_then(OsStr::to_str);
        let (Some(name), Some("txt")) = (name, path.extension().and_then(OsStr::to_str)) else {
            continue;
        };
        let text = fs::read_to_string(&path).map_err(FileError::io("read", &path))?;
        if text.trim().is_empty() {
            return Err(FileError::line(&path, 1, "the prompt is empty"));
        }
        prompts.insert(name.to_owned(), text.trim().to_owned());
    }
    Ok(prompts)
}
