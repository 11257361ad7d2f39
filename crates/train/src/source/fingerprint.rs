//! What tells the text encoders of one folder from those of another.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::TrainError;

/// Bytes of a file that are looked at, at this many places spread over it: weights may be tens of gigabytes, and two that
/// differ do so everywhere.
const PLACES: u64 = 64;
const BYTES: u64 = 16 * 1024;

/// A hash over the text encoders and tokenizers in `folder`: names, sizes and samples of all their files.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn fingerprint(folder: &Path) -> Result<String, TrainError> {
    let damaged = |error: io::Error| TrainError::Damaged {
        path: folder.to_owned(),
        reason: error.to_string(),
    };
    let mut hash = Sha256::new();
    for part in sorted(folder).map_err(damaged)? {
        let name = part.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if !part.is_dir() || !(name.starts_with("text_encoder") || name.starts_with("tokenizer")) {
            continue;
        }
        for path in sorted(&part).map_err(damaged)? {
            if path.is_file() {
                let file_name = path.file_name().unwrap_or_default().to_string_lossy();
                hash.update(format!("{name}/{file_name}\n"));
                add_samples(&mut hash, &path).map_err(damaged)?;
            }
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}

fn sorted(folder: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let entries = fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn add_samples(hash: &mut Sha256, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    hash.update(size.to_le_bytes());
    let mut buffer = Vec::new();
    for place in 0..PLACES {
        let start = (size.saturating_sub(BYTES)) * place / (PLACES - 1);
        file.seek(SeekFrom::Start(start))?;
        buffer.clear();
        Read::by_ref(&mut file).take(BYTES).read_to_end(&mut buffer)?;
        hash.update(&buffer);
        if size <= BYTES {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_text_encoders_and_their_content_count() {
        let dir = tempfile::tempdir().expect("temp dir");
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("writable");
            fs::write(path, bytes).expect("writable");
        };
        let mut weights = vec![0u8; 3 << 20];
        write("text_encoder_2/model.safetensors", &weights);
        write("tokenizer/vocab.json", b"{}");
        write("unet/model.safetensors", b"one");
        let print = || fingerprint(dir.path()).expect("readable");
        let first = print();
        write("unet/model.safetensors", b"another");
        assert_eq!(print(), first);
        weights.iter_mut().for_each(|byte| *byte = 1);
        write("text_encoder_2/model.safetensors", &weights);
        assert_ne!(print(), first);
    }
}
