//! Answers on disk by the content of the question: a second run asks nobody.

use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use dmdr_events::{EventsError, atomic_write};
use sha2::{Digest, Sha256};

/// A folder of answers, one file each. Several processes may use it at once: a file appears whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    folder: PathBuf,
}

/// What tells one question from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key(String);

impl Key {
    /// From the parts of a question, each with its length, so that nothing can move from one into the next.
    pub(super) fn new(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        let mut hex = String::new();
        for byte in hasher.finalize() {
            write!(hex, "{byte:02x}").expect("text takes text");
        }
        Self(hex)
    }
}

impl Cache {
    /// A cache in `folder`, which is made when the first answer comes.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    pub(super) fn get(&self, key: &Key) -> Result<Option<String>, EventsError> {
        let path = self.path(key);
        match fs::read_to_string(&path) {
            Ok(reply) => Ok(Some(reply)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(EventsError::io("read", &path)(error)),
        }
    }

    pub(super) fn put(&self, key: &Key, reply: &str) -> Result<(), EventsError> {
        let path = self.path(key);
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(EventsError::io("create", folder))?;
        atomic_write(&path, reply)
    }

    /// Two hexadecimal digits a folder: a hundred thousand answers are too many for one.
    fn path(&self, Key(hex): &Key) -> PathBuf {
        let (first, rest) = hex.split_at(2);
        self.folder.join(first).join(format!("{rest}.txt"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_parts_and_nothing_else() {
        let key = |parts: &[&str]| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            Key::new(&parts)
        };
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["ab"]), key(&["ab", ""]));
    }

    #[test]
    fn answers_come_back() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let cache = Cache::new(folder.path().join("new"));
        let key = Key::new(&[b"a"]);
        assert_eq!(cache.get(&key).expect("readable"), None);
        cache.put(&key, "yes\n").expect("written");
        assert_eq!(cache.get(&key).expect("readable").as_deref(), Some("yes\n"));
        assert_eq!(cache.get(&Key::new(&[b"b"])).expect("readable"), None);
    }
}
