//! The cache that the hub's tools share: `models--OWNER--NAME/{refs,blobs,snapshots}`
//! (huggingface_hub's page "Manage the cache"), with the lists of files that its version 2 keeps in
//! `trees`. Markers in `.no_exist` are not read.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    io,
    path::{Component, Path, PathBuf},
    process,
};

use dmdr_config::is_commit;
use serde::{Deserialize, Serialize};

/// The version of the lists below `trees`.
const TREE_VERSION: u32 = 1;

/// The cache of one repository.
pub(super) struct Cache {
    /// Its folder.
    pub(super) folder: PathBuf,
    locks: PathBuf,
    /// Whether snapshots may hold links.
    links: bool,
}

/// The files of a commit, by their paths.
pub(super) type Tree = BTreeMap<String, TreeEntry>;

/// What is known of a file that has not been fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TreeEntry {
    /// Bytes.
    pub(super) size: u64,
    pub(super) blob_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lfs_sha256: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) lfs_size: Option<u64>,
}

#[derive(Serialize, Deserialize)]
struct TreeFile {
    format_version: u32,
    files: Tree,
}

impl Cache {
    /// That of the repository whose folder is called `name`, below `root`.
    pub(super) fn new(root: &Path, name: &str, links: bool) -> Self {
        Self {
            folder: root.join(name),
            locks: root.join(".locks").join(name),
            links,
        }
    }

    /// The commit that `revision` stood for when it was last asked for.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.reference(revision)?).ok()?;
        let commit = text.trim();
        is_commit(commit).then(|| commit.to_owned())
    }

    /// Keeps what [`Self::commit`] gives. A cache that cannot be written, as on a shared disk,
    /// stays as it is.
    pub(super) fn keep_commit(&self, revision: &str, commit: &str) {
        if let Some(path) = self.reference(revision)
            && self.commit(revision).as_deref() != Some(commit)
        {
            let _ = replace(&path, commit.as_bytes());
        }
    }

    fn reference(&self, revision: &str) -> Option<PathBuf> {
        let mut parts = Path::new(revision).components();
        let is_inside = parts.all(|part| matches!(part, Component::Normal(_)));
        is_inside.then(|| self.folder.join("refs").join(revision))
    }

    /// The folder of a commit.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The list of files of a commit, if it is known.
    pub(super) fn tree(&self, commit: &str) -> Option<Tree> {
        let text = fs::read(self.tree_file(commit)).ok()?;
        let kept: TreeFile = serde_json::from_slice(&text).ok()?;
        (kept.format_version == TREE_VERSION).then_some(kept.files)
    }

    /// Keeps what [`Self::tree`] gives, where the cache can be written.
    pub(super) fn keep_tree(&self, commit: &str, files: Tree) {
        let kept = TreeFile {
            format_version: TREE_VERSION,
            files,
        };
        if let Ok(text) = serde_json::to_vec_pretty(&kept) {
            let _ = replace(&self.tree_file(commit), &text);
        }
    }

    fn tree_file(&self, commit: &str) -> PathBuf {
        self.folder.join("trees").join(format!("{commit}.json"))
    }

    /// Where content lies that the hub knows under `etag`.
    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.folder.join("blobs").join(etag)
    }

    /// Waits until no other process fetches `etag`, the Python client included. None where the file
    /// system has no locks.
    pub(super) fn lock(&self, etag: &str) -> Option<File> {
        fs::create_dir_all(&self.locks).ok()?;
        let path = self.locks.join(format!("{etag}.lock"));
        let file = File::options().create(true).append(true).open(path).ok()?;
        file.lock().ok()?;
        Some(file)
    }

    /// Puts the blob `etag` into a snapshot as `path`: by a link if that is possible, else the blob
    /// itself where it `is_new`, or a copy.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub(super) fn enter(
        &self,
        etag: &str,
        commit: &str,
        path: &str,
        is_new: bool,
    ) -> io::Result<PathBuf> {
        let blob = self.blob(etag);
        let entry = self.snapshot(commit).join(path);
        let beside = beside(&entry);
        if let Some(folder) = entry.parent() {
            fs::create_dir_all(folder)?;
        }
        let up = "../".repeat(path.split('/').count() + 1);
        let target = format!("{up}blobs/{etag}");
        let is_linked = self.links && link(Path::new(&target), &beside).is_ok();
        match (is_linked, is_new) {
            (true, _) => {}
            (false, true) => fs::rename(&blob, &beside)?,
            (false, false) => {
                fs::copy(&blob, &beside)?;
            }
        }
        fs::rename(&beside, &entry)?;
        Ok(entry)
    }
}

/// A name beside `path` that no other process takes.
fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", process::id()));
    path.with_file_name(name)
}

/// Writes a whole file at once for those who read it.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = beside(path);
    fs::write(&beside, content)?;
    fs::rename(&beside, path)
}

fn link(target: &Path, entry: &Path) -> io::Result<()> {
    let _ = fs::remove_file(entry);
    #[cfg(unix)]
    return std::os::unix::fs::symlink(target, entry);
    #[cfg(windows)]
    return std::os::windows::fs::symlink_file(target, entry);
    #[cfg(not(any(unix, windows)))]
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn references_are_files_with_a_commit() {
        let dir = tempfile::tempdir().expect("temp dir");
        let cache = Cache::new(dir.path(), "models--lab--tiny", true);
        assert_eq!(cache.commit("main"), None);
        for revision in ["main", "refs/pr/1", "v1.0"] {
            cache.keep_commit(revision, COMMIT);
            assert_eq!(cache.commit(revision).as_deref(), Some(COMMIT));
            let path = dir.path().join("models--lab--tiny/refs").join(revision);
            assert_eq!(fs::read_to_string(path).expect("kept"), COMMIT);
        }
        let main = dir.path().join("models--lab--tiny/refs/main");
        fs::write(&main, format!("{COMMIT}\n")).expect("writable");
        assert_eq!(cache.commit("main").as_deref(), Some(COMMIT));
        // A damaged one, and names that lead out of the folder.
        fs::write(&main, "").expect("writable");
        assert_eq!(cache.commit("main"), None);
        fs::write(dir.path().join("out"), COMMIT).expect("writable");
        assert_eq!(cache.commit("../../out"), None);
        cache.keep_commit("../../other", COMMIT);
        assert!(!dir.path().join("other").exists());
    }

    #[test]
    fn a_blob_is_entered_as_a_link_or_a_copy() {
        let dir = tempfile::tempdir().expect("temp dir");
        for links in [true, false] {
            let cache = Cache::new(dir.path(), &format!("models--lab--{links}"), links);
            fs::create_dir_all(cache.folder.join("blobs")).expect("writable");
            fs::write(cache.blob("abc"), "content").expect("writable");
            for path in ["a.json", "vae/config.json", "a/b/c.txt"] {
                for _ in 0..2 {
                    let entry = cache.enter("abc", COMMIT, path, false).expect("writable");
                    assert_eq!(entry, cache.snapshot(COMMIT).join(path));
                    assert_eq!(fs::read_to_string(&entry).expect("there"), "content");
                    assert_eq!(entry.is_symlink(), links && cfg!(unix));
                }
            }
        }
    }

    #[test]
    fn lists_are_those_of_the_python_client() {
        let dir = tempfile::tempdir().expect("temp dir");
        let cache = Cache::new(dir.path(), "models--lab--tiny", true);
        let path = cache.folder.join("trees").join(format!("{COMMIT}.json"));
        let text = r#"{"format_version": 1, "files": {
            "a.json": {"size": 5, "blob_id": "b1"},
            "w.safetensors": {"size": 7, "blob_id": "b2", "lfs_sha256": "aa", "lfs_size": 7, "xet_hash": "x"}}}"#;
        replace(&path, text.as_bytes()).expect("writable");
        let tree = cache.tree(COMMIT).expect("readable");
        assert_eq!(
            (tree["a.json"].size, tree["w.safetensors"].lfs_size),
            (5, Some(7))
        );
        cache.keep_tree(COMMIT, tree.clone());
        assert_eq!(cache.tree(COMMIT), Some(tree));
        let newer = text.replace("\"format_version\": 1", "\"format_version\": 2");
        replace(&path, newer.as_bytes()).expect("writable");
        assert_eq!(cache.tree(COMMIT), None);
    }
}
