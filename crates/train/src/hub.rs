//! Pipelines and data sets of the Hugging Face hub: a repository at a commit becomes a local folder, a file of one a local
//! file. Token, endpoint and cache are those of
//! `huggingface-cli` (`HF_TOKEN`, `HF_ENDPOINT`, `HF_HOME`).

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use dmdr_config::{Experiment, HubFile, PromptPaths, Teacher, World, is_commit};
use hf_hub::{
    Cache, Repo, RepoType,
    api::sync::{ApiBuilder, ApiError, ApiRepo},
};

use crate::TrainError;

/// What makes a folder a pipeline.
const INDEX: &str = "model_index.json";

/// Replaces every tag or branch that `experiment` names on the hub, of its teacher and of its prompt files, by its commit, so
/// that the run keeps what it stood for. Local files and commits stay as they are.
///
/// # Errors
/// A repository or revision that does not exist, or a hub that does not answer.
pub fn pin(experiment: &mut Experiment) -> Result<(), TrainError> {
    let teacher = &mut experiment.teacher;
    if teacher.is_on_hub() && !teacher.revision.as_deref().is_some_and(is_commit) {
        teacher.revision = Some(Remote::model(teacher).commit()?);
    }
    if let World::Prompts(prompts) = &mut experiment.world {
        pin_files(&mut prompts.train)?;
        pin_files(&mut prompts.validation)?;
    }
    Ok(())
}

/// As [`pin`], of prompt files.
pub(crate) fn pin_files(paths: &mut PromptPaths) -> Result<(), TrainError> {
    paths.revise(|file| {
        if !file.revision.as_deref().is_some_and(is_commit) {
            file.revision = Some(Remote::dataset(file).commit()?);
        }
        Ok(())
    })
}

/// The folder of `teacher`: its own, or that of a snapshot in the hub's cache, downloaded first where it is not there. A
/// snapshot that is there is enough where the hub cannot be reached, as on the nodes of a cluster.
///
/// # Errors
/// As for [`pin`], or a file that cannot be downloaded.
pub(crate) fn folder(teacher: &Teacher) -> Result<PathBuf, TrainError> {
    if !teacher.is_on_hub() {
        return Ok(teacher.weights.clone());
    }
    let remote = Remote::model(teacher);
    let files = remote.files();
    if let Some(folder) = files.as_ref().ok().and_then(|files| only_pickles(files)) {
        return Err(TrainError::Hub {
            reason: format!(
                "`{folder}` holds its weights as pickles alone, which can run code and are never read: download the repository, \
                 convert them with `python3 tools/convert_pickle.py FILE.bin FILE.safetensors`, and name the folder in \
                 `teacher.weights`"
            ),
            repository: remote.repository,
            revision: remote.revision,
        });
    }
    let index = files.and_then(|files| remote.pipeline(&files));
    let index = index.or_else(|error| remote.cached(INDEX, error));
    let mut path = index.map_err(|error| remote.failed(&error))?;
    path.pop();
    Ok(path)
}

/// The first folder of a repository that has pickles and nothing that is read.
fn only_pickles(files: &[String]) -> Option<String> {
    let folders = files.iter().filter_map(|file| {
        let (folder, name) = file.split_once('/')?;
        let is_pickle = Path::new(name).extension() == Some(OsStr::new("bin"));
        (is_pickle && is_wanted(&format!("{folder}/x.safetensors"))).then_some(folder)
    });
    let is_read = |folder: &str| {
        let weights = OsStr::new("safetensors");
        let mut weights = files
            .iter()
            .filter(|file| Path::new(file).extension() == Some(weights));
        weights.any(|file| file.starts_with(&format!("{folder}/")) && is_wanted(file))
    };
    let mut folders = folders.filter(|folder| !is_read(folder));
    folders.next().map(str::to_owned)
}

/// Where the prompt file `path` lies: there, or in the hub's cache, downloaded first where it is not in it.
///
/// # Errors
/// As for [`pin`], or a file that cannot be downloaded.
pub(crate) fn file(path: &Path) -> Result<PathBuf, TrainError> {
    let Some(file) = HubFile::of(path) else {
        return Ok(path.to_owned());
    };
    let remote = Remote::dataset(&file);
    let downloaded = remote.open().and_then(|repo| repo.get(&file.path));
    let downloaded = downloaded.or_else(|error| remote.cached(&file.path, error));
    downloaded.map_err(|error| TrainError::Hub {
        reason: format!("`{}`: {error}", file.path),
        repository: remote.repository,
        revision: remote.revision,
    })
}

/// The hub did not answer at all.
fn is_unreachable(error: &ApiError) -> bool {
    matches!(error, ApiError::RequestError(error) if !matches!(**error, ureq::Error::StatusCode(_)))
}

/// A repository at a revision.
struct Remote {
    kind: RepoType,
    repository: String,
    revision: String,
}

impl Remote {
    fn model(teacher: &Teacher) -> Self {
        Self {
            kind: RepoType::Model,
            repository: teacher.weights.display().to_string(),
            revision: teacher.revision.clone().unwrap_or_else(main),
        }
    }

    fn dataset(file: &HubFile) -> Self {
        Self {
            kind: RepoType::Dataset,
            repository: file.repository.clone(),
            revision: file.revision.clone().unwrap_or_else(main),
        }
    }

    fn repo(&self) -> Repo {
        let revision = self.revision.clone();
        Repo::with_revision(self.repository.clone(), self.kind, revision)
    }

    fn open(&self) -> Result<ApiRepo, ApiError> {
        Ok(ApiBuilder::from_env().build()?.repo(self.repo()))
    }

    /// The files of the repository.
    fn files(&self) -> Result<Vec<String>, ApiError> {
        let files = self.open()?.info()?.siblings.into_iter();
        Ok(files.map(|file| file.rfilename).collect())
    }

    /// Downloads what is read of a pipeline of `files` and gives its index.
    fn pipeline(&self, files: &[String]) -> Result<PathBuf, ApiError> {
        let repo = self.open()?;
        for file in files
            .iter()
            .filter(|file| *file != INDEX && is_wanted(file))
        {
            repo.get(file)?;
        }
        repo.get(INDEX) // last: where it is, the others are
    }

    /// `file` in the cache, if `error` says that the hub cannot be reached.
    fn cached(&self, file: &str, error: ApiError) -> Result<PathBuf, ApiError> {
        if !is_unreachable(&error) {
            return Err(error);
        }
        Cache::from_env().repo(self.repo()).get(file).ok_or(error)
    }

    /// The commit that the revision stands for: now, or, where the hub cannot be reached, when it was last asked.
    fn commit(&self) -> Result<String, TrainError> {
        let cache = Cache::from_env();
        let place = cache.path().join(self.repo().folder_name());
        let kept = fs::read_to_string(place.join("refs").join(&self.revision)).ok();
        let kept = kept.map(|commit| commit.trim().to_owned());
        let commit = match self.open().and_then(|repo| repo.info()) {
            Ok(info) if kept.as_ref() == Some(&info.sha) => Ok(info.sha),
            Ok(info) => {
                let written = cache.repo(self.repo()).create_ref(&info.sha);
                written.map(|()| info.sha).map_err(ApiError::from)
            }
            Err(error) if is_unreachable(&error) => kept.ok_or(error),
            Err(error) => Err(error),
        };
        commit.map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &ApiError) -> TrainError {
        TrainError::Hub {
            repository: self.repository.clone(),
            revision: self.revision.clone(),
            reason: error.to_string(),
        }
    }
}

fn main() -> String {
    "main".to_owned()
}

/// Configs, tokenizers and whole-precision weights of the parts; neither copies in other formats nor pictures.
fn is_wanted(file: &str) -> bool {
    let Some((folder, name)) = file.split_once('/') else {
        return file == INDEX;
    };
    // Also of a sharded file: `model.fp16-00001-of-00002.safetensors`.
    let is_variant = ["fp16", "bf16", "non_ema"].iter().any(|tag| {
        let is_tag = |part: &str| part == *tag || part.starts_with(&format!("{tag}-"));
        name.split('.').skip(1).any(is_tag)
    });
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    let is_read = match folder {
        "unet" | "transformer" | "vae" | "text_encoder" | "text_encoder_2" | "text_encoder_3" => {
            matches!(extension, Some("json" | "safetensors"))
        }
        "scheduler" => extension == Some("json"),
        "tokenizer" | "tokenizer_2" | "tokenizer_3" => {
            extension == Some("json") || name == "merges.txt"
        }
        _ => false,
    };
    is_read && !is_variant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_read_is_downloaded() {
        for file in [
            "model_index.json",
            "transformer/config.json",
            "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
            "text_encoder_3/model.safetensors.index.json",
            "tokenizer/merges.txt",
            "scheduler/scheduler_config.json",
            "tokenizer_3/tokenizer.json",
        ] {
            assert!(is_wanted(file), "{file}");
        }
        for file in [
            "sd3_medium.safetensors",
            "README.md",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "text_encoder_3/model.fp16-00001-of-00002.safetensors",
            "text_encoder_3/model.safetensors.index.fp16.json",
            "unet/diffusion_pytorch_model.bin",
            "vae_1_0/diffusion_pytorch_model.safetensors",
            "text_encoder/openvino_model.xml",
        ] {
            assert!(!is_wanted(file), "{file}");
        }
        let files = |weights: &str| {
            ["vae/model.safetensors", "unet/config.json", weights].map(str::to_owned)
        };
        let pickle = "unet/diffusion_pytorch_model.bin";
        assert_eq!(only_pickles(&files(pickle)).as_deref(), Some("unet"));
        assert_eq!(only_pickles(&files("unet/model.safetensors")), None);
        assert_eq!(only_pickles(&files("image_encoder/model.bin")), None);
        assert!(is_commit("ea42f8cef0f178587cf766dc8129abd379c90671"));
        assert!(!is_commit("main"));
    }
}
