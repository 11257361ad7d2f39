//! [`atomic_write`]: a file has the old content or the new one, never a part.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::EventsError;

/// Writes `bytes` to a temporary name in the same folder, syncs it, renames it to `path` and syncs the
/// folder. The folder must exist.
///
/// # Errors
/// [`EventsError::Io`] with the step that failed; the temporary file is removed and `path` untouched.
pub fn atomic_write(path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<(), EventsError> {
    let path = path.as_ref();
    let temporary = temporary_name(path);
    let written = write_synced(&temporary, bytes.as_ref())
        .map_err(EventsError::io("write", path))
        .and_then(|()| fs::rename(&temporary, path).map_err(EventsError::io("replace", path)));
    if written.is_err() {
        // The first error is the one worth telling; the leftover is only tidied.
        let _ = fs::remove_file(&temporary);
        return written;
    }
    sync_folder(path).map_err(EventsError::io("sync the folder of", path))
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Unique within the machine: two processes or threads may write the same file.
fn temporary_name(path: &Path) -> PathBuf {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}-{count}.tmp", process::id()))
}

/// Makes the rename durable; only Unix can open a folder for this.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_content_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.json");
        atomic_write(&path, "old").expect("first write");
        atomic_write(&path, "new").expect("second write");
        assert_eq!(fs::read_to_string(&path).expect("readable"), "new");
        assert_eq!(fs::read_dir(folder.path()).expect("listable").count(), 1);
    }

    #[test]
    fn a_failure_names_the_file_and_keeps_the_old_state() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let error = atomic_write(folder.path().join("missing/a.json"), "x").expect_err("no folder");
        assert!(error.to_string().contains("cannot write `"), "{error}");
        assert!(error.to_string().contains("missing/a.json"), "{error}");

        let occupied = folder.path().join("folder");
        fs::create_dir(&occupied).expect("created");
        atomic_write(&occupied, "x").expect_err("a folder cannot be replaced by a file");
        assert!(occupied.is_dir());
        assert_eq!(fs::read_dir(folder.path()).expect("listable").count(), 1);
    }

    #[test]
    fn disk_full_and_permission_have_a_hint() {
        for (kind, expected) in [
            (io::ErrorKind::StorageFull, "disk is full"),
            (io::ErrorKind::PermissionDenied, "may write to"),
        ] {
            let error = EventsError::io("write", Path::new("run/a.json"))(kind.into());
            assert!(error.to_string().contains(expected), "{error}");
        }
    }
}
