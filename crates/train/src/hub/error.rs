//! What the hub, its cache or the way to it can refuse. Each message tells the way out.

use std::{io, path::PathBuf};

/// Errors of the hub's client; [`crate::TrainError::Hub`] puts repository and revision before them.
#[derive(Debug, thiserror::Error)]
pub(super) enum HubError {
    /// A variable of the environment.
    #[error("the environment variable `{variable}` is `{found}`, expected {expected}")]
    Variable {
        variable: &'static str,
        found: String,
        expected: &'static str,
    },
    /// A token that no header can hold.
    #[error(
        "the token of {origin} has characters that no token has; copy it anew from the hub's page of tokens"
    )]
    Token { origin: String },
    /// A token that cannot be read.
    #[error(
        "cannot read a token from `{}`: {source}; run `hf auth login`, or set `HF_TOKEN`",
        path.display()
    )]
    TokenFile { path: PathBuf, source: io::Error },
    /// The hub may not be asked, or does not answer, and the cache has less than is needed.
    #[error(
        "{why}, and the cache `{}` lacks {}; fetch it where there is a network: \
         `hf download {name}`",
        folder.display(),
        list(missing)
    )]
    NotCached {
        why: String,
        folder: PathBuf,
        missing: Vec<String>,
        /// What follows `hf download`.
        name: String,
    },
    /// No answer.
    #[error(
        "the hub does not answer ({url}: {reason}); check the network, the proxy and `HF_ENDPOINT`"
    )]
    Unreachable { url: String, reason: String },
    /// 401 or 403.
    #[error("{what} (status {status}); {advice}")]
    Locked {
        what: String,
        status: u16,
        advice: String,
    },
    /// 404 of a repository.
    #[error("there is no {kind} of that name (status 404); names have an owner, as in `{example}`")]
    NoRepository {
        kind: &'static str,
        example: &'static str,
    },
    /// 404 of a revision.
    #[error(
        "the repository has no such revision (status 404); its branches and tags are listed at {page}"
    )]
    NoRevision { page: String },
    /// 404 of a file.
    #[error(
        "the repository has no file `{file}` at this revision (status 404); its files are listed at {page}"
    )]
    NoFile { file: String, page: String },
    /// A repository that is something else.
    #[error("{0}")]
    NoPipeline(String),
    /// Another status.
    #[error("status {status} from {url}{}", tell(said, *status))]
    Status {
        status: u16,
        url: String,
        said: String,
    },
    /// An answer that is not a hub's.
    #[error("{url} does not answer as a hub does: {reason}; check `HF_ENDPOINT` and the proxy")]
    NoHub { url: String, reason: String },
    /// A file whose connection breaks again and again.
    #[error(
        "`{file}` does not come through, {found} bytes are here: {reason}; start again to go on from there"
    )]
    Broken {
        file: String,
        found: u64,
        reason: String,
    },
    /// A file that did not come through, twice.
    #[error("`{file}` arrives damaged, also when fetched again: {reason}")]
    Damaged { file: String, reason: String },
    /// A file of the cache.
    #[error("cannot write `{}`: {source}; `HF_HUB_CACHE` names another folder", path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl HubError {
    /// Whether what is in the cache may stand in: as for the Python client, whatever does not say
    /// that a revision or a file is gone.
    pub(super) fn is_away(&self) -> bool {
        matches!(
            self,
            Self::NotCached { .. }
                | Self::Unreachable { .. }
                | Self::Locked { .. }
                | Self::NoRepository { .. }
                | Self::Status { .. }
                | Self::NoHub { .. }
        )
    }
}

/// What the hub said, and what a person can do.
fn tell(said: &str, status: u16) -> String {
    let colon = if said.is_empty() { "" } else { ": " };
    let advice = match status {
        429 => "; too many requests: try again later, or with a token in `HF_TOKEN`",
        500.. => "; try again later",
        _ => "",
    };
    format!("{colon}{said}{advice}")
}

/// The first three names, and how many more there are.
fn list(names: &[String]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(3)
        .map(|name| format!("`{name}`"))
        .collect();
    match names.len() {
        0..=3 => shown.join(", "),
        more => format!("{} and {} more", shown.join(", "), more - 3),
    }
}
