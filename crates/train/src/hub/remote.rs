//! A repository as it is reached: its commit, its list of files, and what a refusal means.

use dmdr_config::is_commit;
use serde::Deserialize;
use ureq::http::Method;
use url::Url;

use super::{
    cache::{Cache, Tree, TreeEntry},
    client::{Client, Query, Reply},
    error::HubError,
    repository::{Kind, Repository},
    settings::Settings,
};

/// The most characters of a hub's own message that are shown.
const MAX_SAID: usize = 200;

/// A repository, the way to it, and its cache.
pub(super) struct Remote<'a> {
    pub(super) repository: &'a Repository,
    pub(super) client: Client,
    pub(super) cache: Cache,
}

/// What the hub tells of a revision.
#[derive(Deserialize)]
pub(super) struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

/// A file of a repository, and its bytes if the hub tells.
pub(super) struct Listed {
    pub(super) path: String,
    pub(super) size: Option<u64>,
}

/// A commit, and what a person should know of how it was found.
pub(super) struct Commit {
    pub(super) sha: String,
    pub(super) warning: Option<String>,
}

impl Info {
    /// All files.
    pub(super) fn files(self) -> Vec<Listed> {
        let file = |file: Sibling| Listed {
            path: file.rfilename,
            size: file.size,
        };
        self.siblings.into_iter().map(file).collect()
    }

    /// The files with their sizes, if the hub told them.
    fn tree(&self) -> Option<Tree> {
        let entry = |file: &Sibling| {
            let lfs = file.lfs.as_ref();
            let entry = TreeEntry {
                size: file.size?,
                blob_id: file.blob_id.clone()?,
                lfs_sha256: lfs.and_then(|lfs| lfs.sha256.clone()),
                lfs_size: lfs.and_then(|lfs| lfs.size),
            };
            Some((file.rfilename.clone(), entry))
        };
        self.siblings.iter().map(entry).collect()
    }
}

impl<'a> Remote<'a> {
    /// Asks nobody yet.
    ///
    /// # Errors
    /// What the environment says of the hub cannot be understood.
    pub(super) fn open(repository: &'a Repository) -> Result<Self, HubError> {
        let settings = Settings::from_env()?;
        let cache = Cache::new(&settings.cache, &repository.folder(), settings.links);
        Ok(Self {
            repository,
            client: Client::new(settings),
            cache,
        })
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.client.settings
    }

    /// Why the hub may not be asked, if so.
    pub(super) fn offline(&self) -> Option<String> {
        let variable = self.settings().offline?;
        Some(format!("`{variable}` is set"))
    }

    /// The commit that the revision stands for: now, or, where the hub cannot be asked, when it was
    /// last asked.
    ///
    /// # Errors
    /// No such repository or revision, or neither an answer nor an earlier one.
    pub(super) fn commit(&self) -> Result<Commit, HubError> {
        let revision = &self.repository.revision;
        let sure = |sha| Commit { sha, warning: None };
        if is_commit(revision) {
            return Ok(sure(revision.clone()));
        }
        let kept = self.cache.commit(revision);
        if let Some(why) = self.offline() {
            let missing = vec![format!("its commit of {revision}")];
            return kept.map(sure).ok_or_else(|| self.not_cached(why, missing));
        }
        match (self.info(revision, kept.is_none()), kept) {
            (Ok(info), _) => {
                self.cache.keep_commit(revision, &info.sha);
                Ok(sure(info.sha))
            }
            (Err(error), Some(sha)) if error.is_away() => {
                let name = &self.repository.name;
                let warning = format!(
                    "`{name}`: revision `{revision}` is commit {sha}, as the cache has it, for the hub did not tell: {error}"
                );
                Ok(Commit {
                    sha,
                    warning: Some(warning),
                })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// What the hub tells of `revision`; the files of a model are kept in the cache.
    ///
    /// # Errors
    /// No answer, or a refusal.
    pub(super) fn info(&self, revision: &str, is_repeated: bool) -> Result<Info, HubError> {
        let settings = self.settings();
        let reply = self.client.send(&Query {
            method: Method::GET,
            url: &self.repository.info(&settings.endpoint, revision),
            start: 0,
            timeout: settings.etag_timeout,
            leaves_hub: false,
            is_repeated,
        })?;
        if reply.status() != 200 {
            return Err(self.refused(reply, None));
        }
        let url = reply.url.clone();
        let no_hub = |reason: String| HubError::NoHub { url, reason };
        let info: Info = match serde_json::from_str(&reply.text()) {
            Ok(info) => info,
            Err(error) => return Err(no_hub(error.to_string())),
        };
        if !is_commit(&info.sha) {
            return Err(no_hub(format!("`{}` is no commit", info.sha)));
        }
        if self.repository.kind == Kind::Model
            && let Some(tree) = info.tree()
        {
            self.cache.keep_tree(&info.sha, tree);
        }
        Ok(info)
    }

    /// The hub may not be asked or does not answer, and the cache has too little.
    pub(super) fn not_cached(&self, why: String, missing: Vec<String>) -> HubError {
        HubError::NotCached {
            why,
            folder: self.cache.folder.clone(),
            missing,
            name: format!(
                "{} --revision {}",
                self.repository.argument(),
                self.repository.revision
            ),
        }
    }

    /// What the status of `reply` means, where `file` was asked for, or the repository itself.
    pub(super) fn refused(&self, reply: Reply, file: Option<&str>) -> HubError {
        let (status, url) = (reply.status(), reply.url.clone());
        let code = reply.header("x-error-code").unwrap_or_default().to_owned();
        let header = reply.header("x-error-message").map(str::to_owned);
        let is_hub = Url::parse(&url).is_ok_and(|url| self.settings().is_hub(&url));
        let endpoint = &self.settings().endpoint;
        let page = self.repository.page(endpoint);
        let files = format!("{page}/tree/{}", self.repository.revision);
        let file = || file.unwrap_or_default().to_owned();
        match (status, code.as_str()) {
            (401 | 403, code) if is_hub => self.locked(status, code),
            (404, "RepoNotFound") => self.no_repository(),
            (404, "RevisionNotFound") => HubError::NoRevision {
                page: format!("{page}/refs"),
            },
            (404, _) if is_hub && !file().is_empty() => HubError::NoFile {
                file: file(),
                page: files,
            },
            (404, _) if is_hub => self.no_repository(),
            _ => {
                let said = header.unwrap_or_else(|| reply.text());
                let line: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
                HubError::Status {
                    status,
                    url,
                    said: line.chars().take(MAX_SAID).collect(),
                }
            }
        }
    }

    fn no_repository(&self) -> HubError {
        let (kind, example) = match self.repository.kind {
            Kind::Model => ("model", "stabilityai/stable-diffusion-xl-base-1.0"),
            Kind::Dataset => ("data set", "rajpurkar/squad"),
        };
        HubError::NoRepository { kind, example }
    }

    fn locked(&self, status: u16, code: &str) -> HubError {
        let settings = self.settings();
        let (endpoint, token) = (&settings.endpoint, settings.token.as_ref());
        let page = self.repository.page(endpoint);
        let tokens = format!("{endpoint}/settings/tokens");
        let terms = format!("accept its terms at {page}");
        let make = format!("make a token at {tokens}, and set `HF_TOKEN` to it");
        let (what, advice) = match (token, code) {
            (None, "GatedRepo") => (
                "it is gated, and no token was sent".to_owned(),
                format!("{terms}, {make}"),
            ),
            (Some(token), "GatedRepo") => (
                format!(
                    "it is gated, and the token of {} has no access",
                    token.origin
                ),
                format!("{terms} with the account of this token"),
            ),
            (None, _) => (
                "it is private or gated, or it does not exist, and no token was sent".to_owned(),
                format!("check the name; if it is right, {terms}, {make}"),
            ),
            (Some(token), _) if status == 401 => (
                format!("the hub refuses the token of {}", token.origin),
                format!("check the name of the repository, or {make}"),
            ),
            (Some(token), _) => (
                format!("the token of {} may not read it", token.origin),
                format!("give it that right at {tokens}; if it is gated, {terms}"),
            ),
        };
        HubError::Locked {
            what,
            status,
            advice,
        }
    }
}
