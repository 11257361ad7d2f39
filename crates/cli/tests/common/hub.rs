//! A hub in the test process, with the addresses and headers of the real one.
#![allow(dead_code, reason = "every test program uses its own part")]

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::{
    dmdr, pipeline,
    server::{Answer, Request, serve},
};

pub(crate) const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
/// Sets the model of a hub as teacher.
pub(crate) const MODEL: &str = "teacher.weights=lab/tiny-1.0";
/// Sets the prompts, once the file is added.
pub(crate) const PROMPTS: &str = "world.prompts.train=hf://datasets/lab/tiny-1.0";
/// Nobody answers there.
pub(crate) const NOWHERE: &str = "http://127.0.0.1:9";

/// What goes wrong once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// 503.
    Busy,
    /// 429 with a time to wait.
    Limited,
    /// Half of the content.
    Cut,
    /// 416 for a part.
    NoPart,
    /// Other content of the same size.
    Wrong,
}

/// A request: method and path, token and range.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) line: String,
    pub(crate) token: Option<String>,
    pub(crate) range: Option<String>,
}

/// How a hub behaves.
#[derive(Clone, Default)]
pub(crate) struct Manners {
    /// The folder with the files of `lab/tiny-1.0`, a model and a data set.
    pub(crate) root: PathBuf,
    /// Who has none is refused.
    pub(crate) token: Option<&'static str>,
    /// Weights lie on another server, configs behind a redirect to the same.
    pub(crate) redirects: bool,
    /// Faults, each of the first request for content whose path ends so.
    pub(crate) faults: Vec<(&'static str, Fault)>,
    /// What its addresses begin with.
    pub(crate) prefix: &'static str,
    /// `X-Error-Code` for everybody.
    pub(crate) refusal: Option<(u16, &'static str)>,
}

/// A running hub.
pub(crate) struct Hub {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    /// What was asked of the other server.
    elsewhere: Arc<Mutex<Vec<Asked>>>,
}

impl Hub {
    /// One with the files below `root` that makes no trouble.
    pub(crate) fn of(root: &Path) -> Self {
        Self::new(Manners {
            root: root.to_owned(),
            ..Manners::default()
        })
    }

    pub(crate) fn new(manners: Manners) -> Self {
        let [asked, elsewhere] = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
        let log = Arc::clone(&elsewhere);
        let mut other = manners.clone();
        let store = serve(move |request| {
            note(&log, request);
            let (name, _) = request.path[1..].split_once('?').expect("signed");
            let name = decoded(name);
            content(&mut other, request, &name, Vec::new())
        });
        let log = Arc::clone(&asked);
        let prefix = manners.prefix;
        let mut manners = manners;
        let url = serve(move |request| {
            note(&log, request);
            answer(&mut manners, request, &store)
        });
        Self {
            url: format!("{url}{prefix}"),
            asked,
            elsewhere,
        }
    }

    /// What was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }

    /// What was asked of the other server.
    pub(crate) fn elsewhere(&self) -> Vec<Asked> {
        self.elsewhere.lock().expect("not poisoned").clone()
    }
}

fn note(log: &Mutex<Vec<Asked>>, request: &Request) {
    log.lock().expect("not poisoned").push(Asked {
        line: format!("{} {}", request.method, request.path),
        token: request.header("authorization").map(str::to_owned),
        range: request.header("range").map(str::to_owned),
    });
}

fn decoded(path: &str) -> String {
    let text = percent_decode_str(path).decode_utf8();
    text.expect("UTF-8").into_owned()
}

fn not_found(code: &str) -> Answer {
    Answer::status(404, &[&format!("X-Error-Code: {code}")])
}

fn answer(manners: &mut Manners, request: &Request, store: &str) -> Answer {
    if let Some((status, code)) = manners.refusal {
        return Answer::status(status, &[&format!("X-Error-Code: {code}")]);
    }
    let token = manners.token.map(|token| format!("bearer {token}"));
    if token.is_some() && request.header("authorization").map(str::to_owned) != token {
        return Answer::status(401, &["X-Error-Code: GatedRepo"]);
    }
    let path = request
        .path
        .strip_prefix(manners.prefix)
        .expect("below the prefix");
    let path = path.split('?').next().expect("a path");
    if let Some(file) = path.strip_prefix("/moved/") {
        return content(
            manners,
            request,
            &decoded(file),
            headers(manners, &decoded(file)),
        );
    }
    let after = |before: [&str; 2]| before.iter().find_map(|before| path.strip_prefix(before));
    if let Some(revision) = after([
        "/api/models/lab/tiny-1.0/revision/",
        "/api/datasets/lab/tiny-1.0/revision/",
    ]) {
        return info(manners, revision, request.path.contains("blobs=true"));
    }
    let file = after(["/lab/tiny-1.0/resolve/", "/datasets/lab/tiny-1.0/resolve/"]);
    let Some(file) = file.and_then(|file| file.strip_prefix(COMMIT)?.strip_prefix('/')) else {
        return not_found("RepoNotFound");
    };
    let name = decoded(file);
    if !manners.root.join(&name).is_file() {
        return not_found("EntryNotFound");
    }
    let mut head = headers(manners, &name);
    if manners.redirects && is_large(&name) {
        head.push(format!("Location: {store}/{file}?signature=a%2Fb"));
        return Answer {
            status: 302,
            head,
            body: Vec::new(),
        };
    }
    if manners.redirects && name.ends_with("config.json") {
        return Answer::status(
            307,
            &[&format!("Location: {}/moved/{file}", manners.prefix)],
        );
    }
    content(manners, request, &name, head)
}

fn info(manners: &Manners, revision: &str, with_sizes: bool) -> Answer {
    let known = [
        "main",
        "v1",
        COMMIT,
        "refs%2Fconvert%2Fparquet",
        "refs%2Fpr%2F1",
    ];
    if !known.contains(&revision) {
        return not_found("RevisionNotFound");
    }
    let file = |name: &String| {
        let mut file = json!({ "rfilename": name });
        if with_sizes {
            let content = fs::read(manners.root.join(name)).expect("readable");
            file["size"] = json!(content.len());
            file["blobId"] = json!(etag(&content, false));
            if is_large(name) {
                let hash = etag(&content, true);
                file["lfs"] = json!({ "sha256": hash, "size": content.len(), "pointerSize": 130 });
            }
        }
        file
    };
    let files: Vec<Value> = files(&manners.root).iter().map(file).collect();
    Answer::ok(json!({ "sha": COMMIT, "siblings": files }).to_string())
}

/// Large files are known by their SHA-256, others by a hash of git.
pub(crate) fn is_large(name: &str) -> bool {
    Path::new(name).extension() == Some(OsStr::new("safetensors"))
}

/// What a file is called among the blobs.
pub(crate) fn etag(content: &[u8], is_large: bool) -> String {
    let hash = format!("{:x}", Sha256::digest(content));
    hash[..if is_large { 64 } else { 40 }].to_owned()
}

fn headers(manners: &Manners, name: &str) -> Vec<String> {
    let content = fs::read(manners.root.join(name)).expect("readable");
    let etag = etag(&content, is_large(name));
    let commit = format!("X-Repo-Commit: {COMMIT}");
    if is_large(name) && manners.redirects {
        let size = format!("X-Linked-Size: {}", content.len());
        return vec![commit, size, format!("X-Linked-ETag: \"{etag}\"")];
    }
    vec![commit, format!("ETag: W/\"{etag}\"")]
}

/// A file, or a part of it, unless something goes wrong.
fn content(manners: &mut Manners, request: &Request, name: &str, mut head: Vec<String>) -> Answer {
    let mut body = fs::read(manners.root.join(name)).expect("readable");
    let range = request.header("range").map(str::to_owned);
    let is_fault = |(file, fault): &(&str, Fault)| {
        let fits = *fault != Fault::NoPart || range.is_some();
        request.method == "GET" && name.ends_with(file) && fits
    };
    let fault = manners.faults.iter().position(is_fault);
    match fault.map(|place| manners.faults.remove(place).1) {
        Some(Fault::Busy) => return Answer::status(503, &[]),
        Some(Fault::Limited) => return Answer::status(429, &["Retry-After: 0"]),
        Some(Fault::NoPart) => return Answer::status(416, &[]),
        Some(Fault::Cut) => {
            head.push(format!("Content-Length: {}", body.len()));
            body.truncate(body.len() / 2);
        }
        Some(Fault::Wrong) => body.fill(7),
        None => {}
    }
    let Some(range) = range else {
        return Answer {
            status: 200,
            head,
            body,
        };
    };
    let start = range
        .strip_prefix("bytes=")
        .and_then(|range| range.strip_suffix('-'));
    let start: usize = start
        .and_then(|start| start.parse().ok())
        .expect("an open range");
    if start >= body.len() {
        return Answer::status(416, &[&format!("Content-Range: bytes */{}", body.len())]);
    }
    head.push(format!(
        "Content-Range: bytes {start}-{}/{}",
        body.len() - 1,
        body.len()
    ));
    Answer {
        status: 206,
        head,
        body: body.split_off(start),
    }
}

/// Files below `root`, with slashes.
pub(crate) fn files(root: &Path) -> Vec<String> {
    fn below(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("readable") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                below(&path, root, found);
            } else {
                let name = path.strip_prefix(root).expect("below");
                found.push(name.to_str().expect("UTF-8").replace('\\', "/"));
            }
        }
    }
    let mut found = Vec::new();
    below(root, root, &mut found);
    found.sort();
    found
}

/// `dmdr` with a hub at `endpoint` and the cache in `hf/hub`; what the machine itself has set does
/// not count.
pub(crate) fn with_hub(here: &Path, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = dmdr(here, arguments);
    for variable in [
        "HF_TOKEN",
        "HUGGING_FACE_HUB_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "HF_HUB_OFFLINE",
        "TRANSFORMERS_OFFLINE",
    ] {
        command.env_remove(variable);
    }
    command
        .env("HF_ENDPOINT", endpoint)
        .env("HF_HOME", here.join("hf"));
    command
}

/// What a command that fails says.
pub(crate) fn refused(command: &mut Command) -> String {
    let output = command.output().expect("the binary starts");
    assert!(!output.status.success(), "{command:?} should fail");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `dmdr doctor`, which reads a pipeline as a training does.
pub(crate) fn doctor(here: &Path, endpoint: &str, sets: &[&str]) -> Command {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["doctor", "run.toml"].into_iter().chain(sets).collect();
    with_hub(here, endpoint, &arguments)
}

/// A run whose pipeline is on a hub that is not there yet, and the pipeline.
pub(crate) fn remote_run() -> (TempDir, PathBuf) {
    let dir = pipeline::tiny_run();
    let base = dir.path().join("base");
    fs::remove_dir_all(base.join("clip")).expect("there");
    fs::remove_dir_all(base.join("clip-tokenizer")).expect("there");
    let scheduler = json!({ "_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0 });
    fs::create_dir(base.join("scheduler")).expect("writable");
    let path = base.join("scheduler/scheduler_config.json");
    fs::write(path, scheduler.to_string()).expect("writable");
    fs::write(
        base.join("model_index.json"),
        pipeline::sd3_index().to_string(),
    )
    .expect("writable");
    (dir, base)
}
