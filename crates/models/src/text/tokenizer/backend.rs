//! A tokenizer as the vocabulary of a folder has it.

use std::path::{Path, PathBuf};

use tokenizers::Tokenizer;

use super::{class::Class, files::TokenizerFiles, older, unusable::unusable};
use crate::{ModelError, json::read_bytes as read};

/// The tokenizer without what the small files say, and the file that its vocabulary is from:
/// `tokenizer.json` where that is there, else the older files of the class.
pub(super) fn backend(
    class: Class,
    files: &TokenizerFiles,
) -> Result<(PathBuf, Tokenizer), ModelError> {
    let path = files.path("tokenizer.json");
    if path.is_file() {
        let inner = Tokenizer::from_bytes(read(&path)?).map_err(|error| unusable(&path, &error))?;
        return Ok((path, inner));
    }
    match class {
        Class::Clip | Class::OpenClip => older::clip(files),
        Class::Qwen2 => older::qwen2(files),
        Class::Bert => older::bert(files),
        Class::T5 => Err(without_json(files, &path)),
    }
}

/// T5's other form is SentencePiece's, which is not read here.
fn without_json(files: &TokenizerFiles, path: &Path) -> ModelError {
    let older = files.path("spiece.model");
    if !older.is_file() {
        return match read(path) {
            Err(error) => error,
            Ok(_) => unusable(path, &"it appeared just now; try again"),
        };
    }
    let reason = "it is SentencePiece's form, but only `tokenizer.json` is read; make that one \
                  with Python: `from transformers import T5TokenizerFast as T; \
                  T.from_pretrained(FOLDER).save_pretrained(FOLDER)`";
    unusable(&older, &reason)
}
