//! Pipelines and data sets of the Hugging Face hub: a repository at a commit becomes a local
//! folder, a file of one a local file. Variables, cache and manners are those of Python's
//! `huggingface_hub`, so a machine set up for diffusers works unchanged.

mod cache;
mod client;
mod download;
mod error;
mod pipeline;
mod remote;
mod repository;
mod settings;

use std::{
    fs,
    path::{Path, PathBuf},
};

use dmdr_config::{Experiment, HubFile, PromptPaths, Teacher, World, is_commit};

use self::{
    error::HubError,
    pipeline::INDEX,
    remote::{Listed, Remote},
    repository::Repository,
};
use crate::TrainError;

/// Replaces every tag or branch that `experiment` names on the hub, of its teacher and of its
/// prompt files, by its commit, so that the run keeps what it stood for. Local files and commits
/// stay as they are. Gives warnings, one where the hub did not answer and the commit is the one
/// that it told before.
///
/// # Errors
/// A repository or revision that does not exist, or a hub that does not answer and did not before.
pub fn pin(experiment: &mut Experiment) -> Result<Vec<String>, TrainError> {
    let mut warnings = Vec::new();
    let teacher = &mut experiment.teacher;
    if teacher.is_on_hub() && !teacher.revision.as_deref().is_some_and(is_commit) {
        teacher.revision = Some(commit(&Repository::model(teacher), &mut warnings)?);
    }
    if let World::Prompts(prompts) = &mut experiment.world {
        warnings.extend(pin_files(&mut prompts.train)?);
        warnings.extend(pin_files(&mut prompts.validation)?);
    }
    Ok(warnings)
}

/// As [`pin`], of prompt files.
pub(crate) fn pin_files(paths: &mut PromptPaths) -> Result<Vec<String>, TrainError> {
    let mut warnings = Vec::new();
    paths.revise(|file| {
        if !file.revision.as_deref().is_some_and(is_commit) {
            file.revision = Some(commit(&Repository::dataset(file), &mut warnings)?);
        }
        Ok::<_, TrainError>(())
    })?;
    Ok(warnings)
}

fn commit(repository: &Repository, warnings: &mut Vec<String>) -> Result<String, TrainError> {
    let commit = Remote::open(repository).and_then(|remote| remote.commit());
    let commit = commit.map_err(|error| failed(repository, &error))?;
    warnings.extend(commit.warning);
    Ok(commit.sha)
}

/// The folder of `teacher`: its own, or that of a snapshot in the hub's cache, completed first
/// where files lack. Nobody is asked where the commit is known and all of it is there.
///
/// # Errors
/// As for [`pin`], or a file that cannot be downloaded.
pub(crate) fn folder(teacher: &Teacher) -> Result<PathBuf, TrainError> {
    if !teacher.is_on_hub() {
        return Ok(teacher.weights.clone());
    }
    let repository = Repository::model(teacher);
    let snapshot = Remote::open(&repository).and_then(|remote| completed(&remote));
    snapshot.map_err(|error| failed(&repository, &error))
}

/// Where the prompt file `path` lies: there, or in the hub's cache, downloaded first where it is
/// not in it.
///
/// # Errors
/// As for [`pin`], or a file that cannot be downloaded.
pub(crate) fn file(path: &Path) -> Result<PathBuf, TrainError> {
    let Some(file) = HubFile::of(path) else {
        return Ok(path.to_owned());
    };
    let repository = Repository::dataset(&file);
    let found = Remote::open(&repository).and_then(|remote| {
        let commit = remote.commit()?.sha;
        let place = remote.cache.snapshot(&commit).join(&file.path);
        if place.is_file() {
            return Ok(place);
        }
        match remote.offline() {
            Some(why) => Err(remote.not_cached(why, vec![file.path.clone()])),
            None => remote.download(&commit, &file.path),
        }
    });
    found.map_err(|error| failed(&repository, &error))
}

/// The snapshot of a pipeline, with all that is read of it.
fn completed(remote: &Remote<'_>) -> Result<PathBuf, HubError> {
    let commit = remote.commit()?.sha;
    let snapshot = remote.cache.snapshot(&commit);
    let files = match listed(remote, &commit) {
        Ok(files) => files,
        // Without a list the pipeline's own index must do.
        Err(error) => {
            let missing = pipeline::lacking(&snapshot);
            return match error {
                // What a commit is never changes, even if the hub no longer has it.
                _ if missing.is_empty() => Ok(snapshot),
                HubError::NotCached { why, .. } => Err(remote.not_cached(why, missing)),
                HubError::Unreachable { .. } if snapshot.join(INDEX).is_file() => {
                    Err(remote.not_cached("the hub does not answer".to_owned(), missing))
                }
                error => Err(error),
            };
        }
    };
    let names: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    check(&names)?;
    let wanted = pipeline::wanted(&names);
    let is_missing = |file: &&str| {
        let size = files.iter().find(|listed| listed.path == **file);
        let size = size.and_then(|listed| listed.size);
        let found = fs::metadata(snapshot.join(file));
        !found.is_ok_and(|found| found.is_file() && size.is_none_or(|size| size == found.len()))
    };
    let missing: Vec<&str> = wanted.into_iter().filter(is_missing).collect();
    if let Some(why) = remote.offline().filter(|_| !missing.is_empty()) {
        let missing = missing.into_iter().map(str::to_owned).collect();
        return Err(remote.not_cached(why, missing));
    }
    for file in missing {
        remote.download(&commit, file)?;
    }
    Ok(snapshot)
}

/// The files of `commit`, from the cache's list or the hub's.
fn listed(remote: &Remote<'_>, commit: &str) -> Result<Vec<Listed>, HubError> {
    if let Some(tree) = remote.cache.tree(commit) {
        let file = |(path, entry): (String, cache::TreeEntry)| Listed {
            path,
            size: Some(entry.size),
        };
        return Ok(tree.into_iter().map(file).collect());
    }
    if let Some(why) = remote.offline() {
        return Err(remote.not_cached(why, Vec::new()));
    }
    let is_whole = pipeline::lacking(&remote.cache.snapshot(commit)).is_empty();
    Ok(remote.info(commit, !is_whole)?.files())
}

/// Refuses what is no pipeline, or one that cannot be read.
fn check(files: &[String]) -> Result<(), HubError> {
    if !files.iter().any(|file| file == INDEX) {
        return Err(HubError::NoPipeline(format!(
            "it has no `{INDEX}`, so it is no pipeline of diffusers; such repositories often end in `-diffusers`"
        )));
    }
    match pipeline::unread(files) {
        Some((folder, file)) if pipeline::is_kind(file, "bin") => {
            Err(HubError::NoPipeline(format!(
                "`{folder}` holds its weights as pickles alone, which can run code and are never read: download the \
                 repository, convert them with `python3 tools/convert_pickle.py FILE.bin FILE.safetensors`, and name the \
                 folder in `teacher.weights`"
            )))
        }
        Some((folder, file)) => Err(HubError::NoPipeline(format!(
            "`{folder}` holds no weights under the usual name; `{file}` is there: if it is meant, download the repository, \
             give the file its usual name, and name the folder in `teacher.weights`"
        ))),
        None => Ok(()),
    }
}

fn failed(repository: &Repository, error: &HubError) -> TrainError {
    TrainError::Hub {
        repository: repository.name.clone(),
        revision: repository.revision.clone(),
        reason: error.to_string(),
    }
}
