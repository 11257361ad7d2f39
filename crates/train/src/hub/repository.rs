//! Names of the hub: of a repository, its addresses and its folder in the cache.

use dmdr_config::{HubFile, Teacher};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What stands for itself in a part of an address, as in Python's `quote`; everything else is
/// escaped.
const PART: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// As in [`PART`], with the slashes between parts.
const PATH: &AsciiSet = &PART.remove(b'/');

/// Models and data sets are apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Model,
    Dataset,
}

/// A repository at a revision.
#[derive(Debug, Clone)]
pub(super) struct Repository {
    pub(super) kind: Kind,
    /// `owner/name`.
    pub(super) name: String,
    /// Commit, tag or branch.
    pub(super) revision: String,
}

impl Repository {
    pub(super) fn model(teacher: &Teacher) -> Self {
        let name = teacher.weights.display().to_string();
        Self::new(Kind::Model, name, teacher.revision.as_ref())
    }

    pub(super) fn dataset(file: &HubFile) -> Self {
        Self::new(
            Kind::Dataset,
            file.repository.clone(),
            file.revision.as_ref(),
        )
    }

    fn new(kind: Kind, name: String, revision: Option<&String>) -> Self {
        let main = || "main".to_owned();
        Self {
            kind,
            name,
            revision: revision
                .filter(|name| !name.is_empty())
                .cloned()
                .unwrap_or_else(main),
        }
    }

    /// Where it can be looked at.
    pub(super) fn page(&self, endpoint: &str) -> String {
        let prefix = match self.kind {
            Kind::Model => "",
            Kind::Dataset => "datasets/",
        };
        let name = utf8_percent_encode(&self.name, PATH);
        format!("{endpoint}/{prefix}{name}")
    }

    /// Where its commit and files are listed.
    pub(super) fn info(&self, endpoint: &str, revision: &str) -> String {
        let (kind, size) = match self.kind {
            Kind::Model => ("models", "?blobs=true"),
            Kind::Dataset => ("datasets", ""), // may have a million files
        };
        let name = utf8_percent_encode(&self.name, PATH);
        let revision = utf8_percent_encode(revision, PART);
        format!("{endpoint}/api/{kind}/{name}/revision/{revision}{size}")
    }

    /// Where `path` of it is at `commit`.
    pub(super) fn file(&self, endpoint: &str, commit: &str, path: &str) -> String {
        let page = self.page(endpoint);
        let commit = utf8_percent_encode(commit, PART);
        let path = utf8_percent_encode(path, PATH);
        format!("{page}/resolve/{commit}/{path}")
    }

    /// Its folder in the cache.
    pub(super) fn folder(&self) -> String {
        let kind = match self.kind {
            Kind::Model => "models",
            Kind::Dataset => "datasets",
        };
        format!("{kind}--{}", self.name.replace('/', "--"))
    }

    /// What the hub's own tool calls it: `OWNER/NAME --repo-type dataset`.
    pub(super) fn argument(&self) -> String {
        let name = &self.name;
        match self.kind {
            Kind::Model => name.clone(),
            Kind::Dataset => format!("{name} --repo-type dataset"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_escaped_as_by_python() {
        let of = |kind| Repository::new(kind, "lab/tiny-1.0".to_owned(), None);
        let set = of(Kind::Dataset);
        // `hf_hub_url("lab/tiny-1.0", "a b/ü#1?%20~.json", repo_type="dataset",
        // revision="refs/pr/1")`
        assert_eq!(
            set.file("http://hub", "refs/pr/1", "a b/ü#1?%20~.json"),
            "http://hub/datasets/lab/tiny-1.0/resolve/refs%2Fpr%2F1/a%20b/%C3%BC%231%3F%2520~.json"
        );
        assert_eq!(
            set.info("http://hub", "refs/convert/parquet"),
            "http://hub/api/datasets/lab/tiny-1.0/revision/refs%2Fconvert%2Fparquet"
        );
        let model = of(Kind::Model);
        assert_eq!(
            model.file("http://hub/hf", "main", "vae/config.json"),
            "http://hub/hf/lab/tiny-1.0/resolve/main/vae/config.json"
        );
        assert_eq!(
            model.info("http://hub", "v1 ä"),
            "http://hub/api/models/lab/tiny-1.0/revision/v1%20%C3%A4?blobs=true"
        );
        let folders = [model.folder(), set.folder()];
        assert_eq!(
            folders,
            ["models--lab--tiny-1.0", "datasets--lab--tiny-1.0"]
        );
    }
}
