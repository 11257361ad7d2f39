//! Files of data sets on the Hugging Face hub, named as `huggingface_hub`'s file system names them (its guide "Interact with
//! the Hub through the Filesystem API"): `hf://datasets/OWNER/NAME[@REVISION]/PATH`, a slash in a revision being `%2F`.

use std::path::{Path, PathBuf};

/// What such a path begins with.
const SCHEME: &str = "hf://";
/// The form of one.
pub(crate) const FORM: &str = "`hf://datasets/OWNER/NAME[@REVISION]/PATH`";

/// A file of a data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// `owner/name`.
    pub repository: String,
    /// Commit, tag or branch; none = `main`.
    pub revision: Option<String>,
    /// Where it is in the repository.
    pub path: String,
}

impl HubFile {
    /// The file that `path` names, if it is on the hub.
    pub fn of(path: &Path) -> Option<Self> {
        let rest = path.to_str()?.strip_prefix(SCHEME)?;
        let mut parts = rest.strip_prefix("datasets/")?.splitn(3, '/');
        let (owner, name, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (name, revision) = match name.split_once('@') {
            Some((name, revision)) => (name, Some(revision.replace("%2F", "/"))),
            None => (name, None),
        };
        let is_named = ![owner, name, path].contains(&"") && revision.as_deref() != Some("");
        is_named.then(|| Self {
            repository: format!("{owner}/{name}"),
            revision,
            path: path.to_owned(),
        })
    }

    /// Whether `path` means the hub, rightly written or not.
    pub(crate) fn is_meant(path: &Path) -> bool {
        path.to_str().is_some_and(|path| path.starts_with(SCHEME))
    }

    /// How it is written.
    pub fn to_path(&self) -> PathBuf {
        let revision = self.revision.as_ref();
        let revision = revision.map(|revision| format!("@{}", revision.replace('/', "%2F")));
        let revision = revision.unwrap_or_default();
        format!(
            "{SCHEME}datasets/{}{revision}/{}",
            self.repository, self.path
        )
        .into()
    }
}

/// Whether a revision of the hub is a commit, which can never mean something else.
pub fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}
