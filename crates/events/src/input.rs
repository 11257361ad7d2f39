//! [`InputFile`]: what went into a result, by content.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::error::EventsError;

/// A file or folder and what was in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputFile {
    /// Where. A path that is not Unicode is written as near as text comes to it.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// SHA-256; of a folder, that of its files' names and hashes.
    pub sha256: String,
}

impl InputFile {
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path) -> Result<Self, EventsError> {
        Ok(Self {
            path: path.to_owned(),
            sha256: hash(path).map_err(EventsError::io("read", path))?,
        })
    }
}

fn as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let name = told(&entry.file_name());
            hasher.update(format!("{name} {}\n", hash(&entry.path())?));
        }
    } else {
        io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    }
    Ok(format!("{:x}", hasher.finalize()))
}

/// `name` in a line of its own. One that could be taken for several lines, or is not text, is quoted: two folders never
/// give the same lines.
fn told(name: &OsStr) -> String {
    match name.to_str() {
        Some(text) if !text.contains('\n') && !text.starts_with('"') => text.to_owned(),
        _ => format!("\"{}\"", name.as_encoded_bytes().escape_ascii()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_not_unicode_is_written() {
        use std::os::unix::ffi::OsStrExt as _;
        let file = InputFile {
            path: std::ffi::OsStr::from_bytes(b"runs/\xff").into(),
            sha256: String::new(),
        };
        let json = serde_json::to_string(&file).expect("written");
        assert!(json.contains("runs/\u{fffd}"), "{json}");
    }

    #[test]
    fn a_folder_is_its_names_and_contents() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("a");
        fs::write(&file, "abc").expect("writable");
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(InputFile::read(&file).expect("there").sha256, abc);
        let folder = || InputFile::read(dir.path()).expect("there").sha256;
        let before = folder();
        fs::rename(&file, dir.path().join("b")).expect("there");
        let renamed = folder();
        fs::write(dir.path().join("b"), "abd").expect("writable");
        assert!(before != renamed && renamed != folder());
        fs::remove_file(dir.path().join("b")).expect("there");
        for (name, content) in [("a", "x"), ("b", "y")] {
            fs::write(dir.path().join(name), content).expect("writable");
        }
        let two = folder();
        let x = InputFile::read(&file).expect("there").sha256;
        fs::remove_file(dir.path().join("b")).expect("there");
        fs::rename(&file, dir.path().join(format!("a {x}\nb"))).expect("there");
        fs::write(dir.path().join(format!("a {x}\nb")), "y").expect("writable");
        assert_ne!(folder(), two, "one file whose name has two lines");
        let error = InputFile::read(&file).expect_err("gone").to_string();
        assert!(error.contains("cannot read"), "{error}");
    }
}
