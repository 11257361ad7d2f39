//! Rules of transformers' classes that hold whatever `tokenizer.json` says: from version 5 on they
//! read only the vocabulary in it, and what normalises and splits a text is the class's own.
//!
//! T5's class splits at white space first; the published file does not, and makes a token of a
//! space at the end. CLIP's and Qwen2's published files have the rules of their classes.

use std::path::Path;

use tokenizers::{
    NormalizerWrapper, PreTokenizerWrapper, Tokenizer,
    pre_tokenizers::{
        metaspace::{Metaspace, PrependScheme},
        sequence::Sequence,
        whitespace::WhitespaceSplit,
    },
};

use super::{class::Class, files::TokenizerFiles, unusable::unusable};
use crate::ModelError;

/// Makes `inner` follow the rules of `class`, as `files` set them.
///
/// # Errors
/// A normaliser that cannot be used.
pub(super) fn apply(
    class: Class,
    inner: &mut Tokenizer,
    files: &TokenizerFiles,
    path: &Path,
) -> Result<(), ModelError> {
    let normalizer = match class {
        Class::Clip | Class::OpenClip | Class::Qwen2 => return Ok(()),
        Class::Bert => bert(inner, files),
        Class::T5 => {
            let words = PreTokenizerWrapper::from(WhitespaceSplit);
            let pieces = Metaspace::new('▁', PrependScheme::Always, true).into();
            inner.with_pre_tokenizer(Some(Sequence::new(vec![words, pieces])));
            inner.get_normalizer().and_then(charsmap)
        }
    };
    let set = inner.with_normalizer(normalizer);
    set.map(|_| ()).map_err(|error| unusable(path, &error))
}

/// The settings of `tokenizer_config.json` win over those of `tokenizer.json`.
fn bert(inner: &Tokenizer, files: &TokenizerFiles) -> Option<NormalizerWrapper> {
    let normalizer = inner.get_normalizer().cloned()?;
    let NormalizerWrapper::BertNormalizer(mut bert) = normalizer else {
        return Some(normalizer);
    };
    bert.lowercase = files.flag("do_lower_case").unwrap_or(bert.lowercase);
    bert.strip_accents = files.flag("strip_accents").or(bert.strip_accents);
    bert.handle_chinese_chars = files
        .flag("tokenize_chinese_chars")
        .unwrap_or(bert.handle_chinese_chars);
    Some(bert.into())
}

/// SentencePiece's table of characters, the one normaliser that the class takes over.
fn charsmap(normalizer: &NormalizerWrapper) -> Option<NormalizerWrapper> {
    match normalizer {
        NormalizerWrapper::Precompiled(_) => Some(normalizer.clone()),
        NormalizerWrapper::Sequence(all) => all.as_ref().iter().find_map(charsmap),
        _ => None,
    }
}
