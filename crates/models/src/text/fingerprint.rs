//! The hash of a pipeline's text encoders and tokenizers, by which a cache of their encodings is named.

use std::{ffi::OsStr, fs::File, io, path::Path};

use dmdr_tensor::WeightFiles;
use sha2::{Digest, Sha256};

use super::{
    TRANSFORMERS_WEIGHTS,
    folder::{at, files},
};
use crate::ModelError;

/// Folders that are read, of whichever pipeline.
const FOLDERS: [&str; 6] = [
    "text_encoder",
    "text_encoder_2",
    "text_encoder_3",
    "tokenizer",
    "tokenizer_2",
    "tokenizer_3",
];

/// Kinds of files that are read besides weights.
const KINDS: [&str; 4] = ["json", "txt", "model", "jinja"];

/// Hash of `rule` and of the text encoders' and tokenizers' files in a pipeline's folder that may be read. What else lies
/// there does not matter: hidden files, folders, other formats and variants of the weights.
pub(super) fn fingerprint(pipeline: &Path, rule: &str) -> Result<String, ModelError> {
    let mut digest = Sha256::new();
    digest.update(rule);
    for name in FOLDERS {
        let folder = pipeline.join(name);
        if !folder.is_dir() {
            continue;
        }
        let weights = WeightFiles::of(&folder, TRANSFORMERS_WEIGHTS);
        let weights = weights.and_then(|weights| weights.names());
        let weights = weights.unwrap_or_default(); // what is wrong with them is said where they are loaded
        for path in files(&folder)? {
            let file_name = path.file_name().unwrap_or_default().to_string_lossy();
            let kind = path.extension().and_then(OsStr::to_str).unwrap_or_default();
            let is_read = weights.contains(file_name.as_ref()) || KINDS.contains(&kind);
            if file_name.starts_with('.') || !is_read || !path.is_file() {
                continue;
            }
            let mut file = File::open(&path).map_err(at(&path))?;
            let mut content = Sha256::new();
            io::copy(&mut file, &mut content).map_err(at(&path))?;
            digest.update(format!("\n{name}/{file_name} "));
            digest.update(content.finalize());
        }
    }
    Ok(format!("{:x}", digest.finalize()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_what_is_read_counts() {
        let dir = tempfile::tempdir().expect("temp dir");
        let here = dir.path();
        let write = |name: &str, text: &str| {
            let path = here.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            fs::write(path, text).expect("writable");
        };
        let hash = || fingerprint(here, "rule").expect("readable");
        write("text_encoder/config.json", "{}");
        write("text_encoder/model.safetensors", "weights");
        write("tokenizer/tokenizer.json", "{}");
        let before = hash();
        // As every earlier version of this program named it, so that caches go on answering.
        let mut digest = Sha256::new();
        digest.update("rule");
        for (name, text) in [
            ("text_encoder/config.json", "{}"),
            ("text_encoder/model.safetensors", "weights"),
            ("tokenizer/tokenizer.json", "{}"),
        ] {
            digest.update(format!("\n{name} "));
            digest.update(Sha256::digest(text));
        }
        assert_eq!(before, format!("{:x}", digest.finalize()));
        for stray in [
            "tokenizer.json",
            "text_encoder.md",
            "text_encoder/.DS_Store",
            "text_encoder/._model.safetensors",
            "text_encoder/.ipynb_checkpoints/config-checkpoint.json",
            "text_encoder/onnx/model.onnx",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/pytorch_model.bin",
            "tokenizer/.cache/huggingface/x.json",
            "tokenizer/._tokenizer.json",
            "text_encoder_backup/config.json",
        ] {
            write(stray, "stray");
            assert_eq!(hash(), before, "{stray}");
        }
        for counts in [
            "tokenizer/special_tokens_map.json",
            "text_encoder_2/config.json",
        ] {
            let last = hash();
            write(counts, "{}");
            assert_ne!(hash(), last, "{counts}");
        }
        fs::remove_file(here.join("text_encoder/model.safetensors")).expect("there");
        let variant = hash();
        assert_ne!(variant, before);
        write("text_encoder/model.fp16.safetensors", "other");
        assert_ne!(hash(), variant, "now it is what is read");
    }
}
