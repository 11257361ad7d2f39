//! Files that hold something else than their name says: what came of a download that went wrong.

/// What every pointer of git-lfs begins with.
const LFS: &[u8] = b"version https://git-lfs.github.com/spec/";

/// What `bytes`, the begin of a file, turn out to be, and the way out; none if nothing is known of them.
/// They are neither safetensors nor text in UTF-8 that a network's folder holds.
pub fn foreign_content(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = text.trim_ascii_start();
    let is_page = |start: &[u8]| {
        text.get(..start.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    };
    Some(if text.is_empty() {
        "the file is empty: download it again, or make it again with `--resume`"
    } else if text.starts_with(LFS) {
        "it is a git-lfs pointer, not the file itself: run `git lfs pull` in its repository"
    } else if is_page(b"<!doctype") || is_page(b"<html") || is_page(b"<?xml") {
        "it is a web page, not the file itself: download it again"
    } else if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        "it is text in UTF-16: save it as UTF-8"
    } else if bytes.starts_with(b"GGUF") {
        "it is a GGUF file, whose weights are quantised: use safetensors in f32, f16 or bf16"
    } else if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x80\x02") {
        "it is a pickle by another name, which can run code and is never read: give it the name \
         `.bin`, and convert it with `python3 tools/convert_pickle.py FILE.bin FILE.safetensors`"
    } else if bytes.starts_with(b"\x1F\x8B") {
        "it is compressed by gzip: unpack it"
    } else {
        return None;
    })
}

/// [`foreign_content`] of a file that should be safetensors, whose ninth byte begins its header. JSON at its very
/// start is what a server said instead of sending the file.
pub(crate) fn not_safetensors(bytes: &[u8]) -> Option<String> {
    if bytes.get(8) == Some(&b'{') {
        return None; // the length before it may look like anything
    }
    if let Some(reason) = foreign_content(bytes) {
        return Some(reason.to_owned());
    }
    let text = bytes[..bytes.len().min(200)].utf8_chunks().next()?.valid();
    let begin = text.trim_start().lines().next()?.trim_end();
    begin
        .starts_with(['{', '['])
        .then(|| format!("it is JSON text that begins `{begin}`, not weights: download it again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_downloads_leave_is_known() {
        for (bytes, named) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\n"[..],
                "git lfs pull",
            ),
            (b"<!DOCTYPE html><html>", "web page"),
            (b"\n<HTML lang=en>", "web page"),
            (
                b"<?xml version=\"1.0\"?><Error><Code>AccessDenied",
                "web page",
            ),
            (b"", "empty"),
            (b" \n", "empty"),
            (b"\xFF\xFE{\0", "UTF-16"),
            (b"GGUF\x03\0\0\0", "GGUF"),
            (b"PK\x03\x04archive/data.pkl", "convert_pickle"),
            (
                b"{\"error\": \"Invalid credentials\"}",
                "`{\"error\": \"Invalid credentials\"}`",
            ),
        ] {
            let reason = not_safetensors(bytes).unwrap_or_default();
            assert!(reason.contains(named), "{bytes:?}: {reason}");
        }
        assert_eq!(not_safetensors(b"\x10\0\0\0\0\0\0\0{\"a\":{}}"), None);
        // Headers of 123 and 640 bytes, whose lengths look like JSON and like a pickle.
        assert_eq!(not_safetensors(b"{\0\0\0\0\0\0\0{\"a\":{}}"), None);
        assert_eq!(not_safetensors(b"\x80\x02\0\0\0\0\0\0{\"a\":{}}"), None);
        assert_eq!(foreign_content(b"\xEF\xBB\xBF{}"), None);
    }
}
