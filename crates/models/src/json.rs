//! JSON files of published folders: as Python reads them, or named for what they are.

use std::{fs, path::Path};

use dmdr_tensor::foreign_content;
use serde::de::DeserializeOwned;

use crate::ModelError;

/// The content of `path` without a byte order mark, which is not a pointer, a page or whatever else a download may leave.
///
/// # Errors
/// A file that cannot be read, or is something else.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, ModelError> {
    let bytes = fs::read(path).map_err(|source| ModelError::Read {
        path: path.to_owned(),
        source,
    })?;
    if let Some(reason) = foreign_content(&bytes) {
        return Err(ModelError::refused(path, reason));
    }
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").map(<[u8]>::to_vec);
    Ok(text.unwrap_or(bytes))
}

/// The JSON in `path`.
///
/// # Errors
/// As for [`read_bytes`], or JSON that says something else.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let bytes = read_bytes(path)?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| ModelError::refused(path, &format!("it is not UTF-8: {error}")))?;
    serde_json::from_str(&without_infinities(text)).map_err(|source| ModelError::Config {
        path: path.to_owned(),
        source,
    })
}

/// Python writes numbers that JSON does not have, such as `-Infinity` for the `lambda_min_clipped` of a scheduler. They
/// become `null`; no key that is read has one.
fn without_infinities(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    let mut is_string = false;
    while let Some(sign) = rest.chars().next() {
        let word = ["-Infinity", "Infinity", "NaN"]
            .into_iter()
            .find(|word| !is_string && rest.starts_with(word));
        let length = match word {
            Some(word) => word.len(),
            None if is_string && sign == '\\' => rest.chars().take(2).map(char::len_utf8).sum(),
            None => sign.len_utf8(),
        };
        is_string ^= sign == '"';
        result.push_str(if word.is_some() {
            "null"
        } else {
            &rest[..length]
        });
        rest = &rest[length..];
    }
    result
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(bytes: &[u8]) -> Result<Value, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("config.json");
        fs::write(&path, bytes).expect("writable");
        read_json(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn json_as_python_writes_it() {
        let text = "\u{FEFF}{\"a\": -Infinity, \"b\": [NaN, \"NaN \\\" Infinity\"], \"ü\\\\\": 1}";
        let expected = json!({ "a": null, "b": [null, "NaN \" Infinity"], "ü\\": 1 });
        assert_eq!(read(text.as_bytes()), Ok(expected));
    }

    #[test]
    fn other_files_are_named() {
        let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n";
        for (bytes, named) in [
            (&lfs[..], "git lfs pull"),
            (b"<!DOCTYPE html>", "web page"),
            (b"", "empty"),
            (b"{\"a\": \xFF}", "not UTF-8"),
            (b"{\"a\": 1", "EOF"),
        ] {
            let error = read(bytes).expect_err("refused");
            assert!(
                error.contains("config.json") && error.contains(named),
                "{error}"
            );
        }
    }
}
