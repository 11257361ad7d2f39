//! Pipelines of the Hugging Face hub: a repository at a commit becomes a local folder. Token, endpoint and cache are those of
//! `huggingface-cli` (`HF_TOKEN`, `HF_ENDPOINT`, `HF_HOME`).

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use dmdr_config::{Experiment, Teacher};
use hf_hub::{
    Repo, RepoType,
    api::sync::{ApiBuilder, ApiError, ApiRepo},
};

use crate::TrainError;

/// Replaces the tag or branch that `teacher.revision` names by its commit, so that the run keeps what it stood for. Local
/// folders and commits stay as they are.
///
/// # Errors
/// A repository or revision that does not exist, or a hub that does not answer.
pub fn pin(experiment: &mut Experiment) -> Result<(), TrainError> {
    let teacher = &mut experiment.teacher;
    if teacher.is_on_hub() && !teacher.revision.as_deref().is_some_and(is_commit) {
        let info = repository(teacher).and_then(|repo| repo.info());
        teacher.revision = Some(info.map_err(|error| failed(teacher, &error))?.sha);
    }
    Ok(())
}

/// The folder of `teacher`: its own, or that of a snapshot in the hub's cache, downloaded first where it is not there.
///
/// # Errors
/// As for [`pin`], or a file that cannot be downloaded.
pub(crate) fn folder(teacher: &Teacher) -> Result<PathBuf, TrainError> {
    if !teacher.is_on_hub() {
        return Ok(teacher.weights.clone());
    }
    let download = || {
        let repo = repository(teacher)?;
        let files = repo.info()?.siblings.into_iter().map(|file| file.rfilename);
        for file in files.filter(|file| is_wanted(file)) {
            repo.get(&file)?;
        }
        repo.get("model_index.json")
    };
    let mut path = download().map_err(|error| failed(teacher, &error))?;
    path.pop();
    Ok(path)
}

fn repository(teacher: &Teacher) -> Result<ApiRepo, ApiError> {
    let name = teacher.weights.display().to_string();
    let revision = teacher
        .revision
        .clone()
        .unwrap_or_else(|| "main".to_owned());
    let api = ApiBuilder::from_env().build()?;
    Ok(api.repo(Repo::with_revision(name, RepoType::Model, revision)))
}

/// Whether a revision can never mean something else.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Configs, tokenizers and whole-precision weights of the parts; neither copies in other formats nor pictures.
fn is_wanted(file: &str) -> bool {
    let Some((folder, name)) = file.split_once('/') else {
        return file == "model_index.json";
    };
    let is_variant = [".fp16.", ".bf16.", ".non_ema."]
        .iter()
        .any(|tag| name.contains(tag));
    let extension = Path::new(name).extension().and_then(OsStr::to_str);
    let is_read = match folder {
        "unet" | "transformer" | "vae" | "text_encoder" | "text_encoder_2" | "text_encoder_3" => {
            matches!(extension, Some("json" | "safetensors"))
        }
        "tokenizer" | "tokenizer_2" | "tokenizer_3" => {
            extension == Some("json") || name == "merges.txt"
        }
        _ => false,
    };
    is_read && !is_variant
}

fn failed(teacher: &Teacher, error: &ApiError) -> TrainError {
    TrainError::Hub {
        repository: teacher.weights.display().to_string(),
        revision: teacher
            .revision
            .clone()
            .unwrap_or_else(|| "main".to_owned()),
        reason: error.to_string(),
    }
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
            "tokenizer_3/tokenizer.json",
        ] {
            assert!(is_wanted(file), "{file}");
        }
        for file in [
            "sd3_medium.safetensors",
            "README.md",
            "unet/diffusion_pytorch_model.fp16.safetensors",
            "unet/diffusion_pytorch_model.bin",
            "vae_1_0/diffusion_pytorch_model.safetensors",
            "text_encoder/openvino_model.xml",
        ] {
            assert!(!is_wanted(file), "{file}");
        }
        assert!(is_commit("ea42f8cef0f178587cf766dc8129abd379c90671"));
        assert!(!is_commit("main"));
    }
}
