//! Files of data sets on the Hugging Face hub, named as `huggingface_hub` names them (its page "HF
//! URIs"): `hf://datasets/OWNER/NAME[@REVISION]/PATH`. A slash in a revision is written `%2F`, but
//! not in the hub's own references, such as `refs/convert/parquet` and `refs/pr/1`. The path stands
//! as it is, without escapes.

use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;

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
        let (owner, rest) = rest.strip_prefix("datasets/")?.split_once('/')?;
        // An `@` further on belongs to the name of a file.
        let (name, rest) = rest.split_at(rest.find(['/', '@'])?);
        let (revision, path) = match rest.strip_prefix('@') {
            Some(rest) => {
                let (revision, path) = rest.split_at(revision_length(rest)?);
                let revision = percent_decode_str(revision).decode_utf8().ok()?;
                (Some(revision.into_owned()), path)
            }
            None => (None, rest),
        };
        let path = path.strip_prefix('/')?;
        let is_inside = |part: &str| !["", ".", ".."].contains(&part);
        let is_named = is_inside(owner) && is_inside(name) && revision.as_deref() != Some("");
        (is_named && path.split('/').all(is_inside)).then(|| Self {
            repository: format!("{owner}/{name}"),
            revision,
            path: path.to_owned(),
        })
    }

    /// Whether `path` means the hub, rightly written or not; an address of its pages is not.
    pub(crate) fn is_meant(path: &Path) -> bool {
        let starts = [SCHEME, "https://huggingface.co/", "https://hf.co/"];
        let is_start = |path: &str| starts.iter().any(|start| path.starts_with(start));
        path.to_str().is_some_and(is_start)
    }

    /// How it is written.
    pub fn to_path(&self) -> PathBuf {
        let escaped = |revision: &String| {
            if own_reference(revision) == Some(revision.len()) {
                format!("@{revision}")
            } else {
                format!("@{}", revision.replace('%', "%25").replace('/', "%2F"))
            }
        };
        let revision = self.revision.as_ref().map(escaped).unwrap_or_default();
        format!(
            "{SCHEME}datasets/{}{revision}/{}",
            self.repository, self.path
        )
        .into()
    }
}

/// Where the revision at the start of `text` ends: of the hub's own references these come first.
fn revision_length(text: &str) -> Option<usize> {
    own_reference(text).or_else(|| text.find('/'))
}

/// The length of a reference of the hub at the start of `text`: `refs/convert/NAME` or
/// `refs/pr/NUMBER`.
fn own_reference(text: &str) -> Option<usize> {
    let is_name = |c: char| c.is_alphanumeric() || "_.-".contains(c);
    let is_digit = |c: char| c.is_ascii_digit();
    let length = |prefix: &str, belongs: &dyn Fn(char) -> bool| {
        let rest = text.strip_prefix(prefix)?;
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        (length > 0).then_some(prefix.len() + length)
    };
    length("refs/convert/", &is_name).or_else(|| length("refs/pr/", &is_digit))
}

/// Whether a revision of the hub is a commit, which can never mean something else.
pub fn is_commit(revision: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    revision.len() == 40 && revision.bytes().all(is_digit)
}
