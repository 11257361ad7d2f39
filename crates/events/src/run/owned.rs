//! [`OwnedRun`]: the folder of a run that this process alone writes to.
//!
//! Two trainings in one folder mix their records and tear each other's checkpoints. So whoever writes holds a lock of
//! the operating system on a file of the folder. It ends with the process, also after `kill -9`; the file itself stays.

use std::cell::Cell;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process;

use serde::{Deserialize, Serialize};

use super::{CONFIG, FOLDERS, LOCK, RunDir, is_unborn, plain};
use crate::clock::utc_now;
use crate::environment::command;
use crate::error::EventsError;

/// A run's folder with one writer: this process, until the value is dropped.
///
/// A new run that ends before [`Self::keep`] was called has come to nothing: its folder goes with the value.
#[derive(Debug)]
pub struct OwnedRun {
    run: RunDir,
    /// Locked as long as it is open. None where the file system has no locks.
    _lock: Option<File>,
    warning: Option<String>,
    /// This process made the folder, and nothing in it is worth keeping yet.
    is_fresh: Cell<bool>,
}

/// Who holds a lock.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    host: String,
    process: u32,
    since: String,
    command: String,
}

impl Deref for OwnedRun {
    type Target = RunDir;

    fn deref(&self) -> &RunDir {
        &self.run
    }
}

impl OwnedRun {
    /// Makes the folder `root/name` of a new run, with its subfolders.
    ///
    /// # Errors
    /// It exists and holds more than the empty beginnings of a run that was killed before it had a `config.toml`; another
    /// process writes to it; it cannot be made; or `name` is not a plain name.
    pub fn create(root: impl AsRef<Path>, name: &str) -> Result<Self, EventsError> {
        let root = root.as_ref();
        Self::check_free(root, name)?;
        let (path, is_new) = make(root, name)?;
        let owned = Self::hold(path, is_new)?;
        // Another process may have begun and ended since the check.
        if !is_unborn(&owned.path)? {
            owned.is_fresh.set(false);
            return Err(EventsError::RunExists {
                path: owned.run.path.clone(),
            });
        }
        owned.make_folders()?;
        Ok(owned)
    }

    /// As [`Self::create`], but what another run has left in the folder is removed first.
    ///
    /// # Errors
    /// As for [`Self::create`], or a file that cannot be removed.
    pub fn replace(root: impl AsRef<Path>, name: &str) -> Result<Self, EventsError> {
        plain(name)?;
        let (path, is_new) = make(root.as_ref(), name)?;
        let owned = Self::hold(path, is_new)?;
        for entry in fs::read_dir(&owned.path).map_err(EventsError::io("open", &owned.path))? {
            let entry = entry.map_err(EventsError::io("open", &owned.path))?;
            let path = entry.path();
            if entry.file_name() == LOCK {
                continue;
            }
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_folder {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(EventsError::io("remove", &path))?;
        }
        owned.make_folders()?;
        Ok(owned)
    }

    /// The folder of an existing run, to go on in.
    ///
    /// # Errors
    /// The folder has no `config.toml`, or another process writes to it.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, EventsError> {
        let run = RunDir::open(path)?;
        Self::hold(run.path, false)
    }

    /// Whether [`Self::create`] would find the place free; for a check before long work.
    ///
    /// # Errors
    /// As for [`Self::create`].
    pub fn check_free(root: impl AsRef<Path>, name: &str) -> Result<(), EventsError> {
        plain(name)?;
        let path = root.as_ref().join(name);
        if !path.is_dir() || is_unborn(&path)? {
            return Ok(());
        }
        Err(if path.join(CONFIG).is_file() {
            EventsError::RunExists { path }
        } else {
            EventsError::Taken { path }
        })
    }

    /// What this process could not make sure of: a file system without locks.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// From now on the folder stays, whatever happens: it holds work.
    pub fn keep(&self) {
        self.is_fresh.set(false);
    }

    fn make_folders(&self) -> Result<(), EventsError> {
        for folder in FOLDERS.map(|name| self.path.join(name)) {
            fs::create_dir_all(&folder).map_err(EventsError::io("create", &folder))?;
        }
        Ok(())
    }

    /// Takes the lock of the folder `path`, which this process made if it `is_new`.
    fn hold(path: PathBuf, is_new: bool) -> Result<Self, EventsError> {
        let place = path.join(LOCK);
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&place)
            .map_err(EventsError::io("lock", &place))?;
        let attempt = file.try_lock();
        let is_locked = attempt.is_ok();
        let warning = warning(&path, attempt, || holder(&mut file))?;
        let text = serde_json::to_string_pretty(&Holder::this()).expect("plain data serialises");
        let named = file
            .set_len(0)
            .and_then(|()| file.write_all(text.as_bytes()));
        named.map_err(EventsError::io("lock", &place))?;
        Ok(Self {
            run: RunDir { path },
            _lock: is_locked.then_some(file),
            warning,
            is_fresh: Cell::new(is_new),
        })
    }
}

impl Drop for OwnedRun {
    /// The folder of a start that failed goes, as far as it can: the failure itself is what is worth telling.
    fn drop(&mut self) {
        if self.is_fresh.get() {
            let _ = fs::remove_dir_all(&self.run.path);
        }
    }
}

impl Holder {
    fn this() -> Self {
        Self {
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            process: process::id(),
            since: utc_now(),
            command: command(),
        }
    }
}

/// Makes the folder and says whether it was not there.
fn make(root: &Path, name: &str) -> Result<(PathBuf, bool), EventsError> {
    fs::create_dir_all(root).map_err(EventsError::io("create", root))?;
    let path = root.join(name);
    match fs::create_dir(&path) {
        Ok(()) => Ok((path, true)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok((path, false)),
        Err(error) => Err(EventsError::io("create", &path)(error)),
    }
}

/// What an attempt to lock the folder `path` leaves to say; `holder` tells who has it.
fn warning(
    path: &Path,
    attempt: Result<(), TryLockError>,
    holder: impl FnOnce() -> String,
) -> Result<Option<String>, EventsError> {
    match attempt {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => Err(EventsError::RunInUse {
            path: path.to_owned(),
            holder: holder(),
        }),
        // Some shared disks have no locks: training there must still be possible.
        Err(TryLockError::Error(error)) => Ok(Some(format!(
            "cannot lock `{}` ({error}): make sure that no other process trains there",
            path.display()
        ))),
    }
}

/// Who holds the locked `file`, in words; it may just be about to write its name.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.read_to_string(&mut text).ok();
    match read.and_then(|_| serde_json::from_str(&text).ok()) {
        Some(Holder {
            host,
            process,
            since,
            command,
        }) => format!("process {process} on `{host}`, since {since}: `{command}`"),
        None => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_owner_is_refused_and_told_the_first() {
        let root = tempfile::tempdir().expect("temporary folder");
        let first = OwnedRun::create(root.path(), "demo").expect("free");
        assert_eq!(first.warning(), None);
        let told = |error: EventsError| {
            let error = error.to_string();
            let process = format!("process {}", process::id());
            assert!(
                error.contains("demo") && error.contains(&process),
                "{error}"
            );
        };
        // Before it has a configuration, ...
        told(OwnedRun::create(root.path(), "demo").expect_err("held"));
        told(OwnedRun::replace(root.path(), "demo").expect_err("held"));
        first.write_config("name = \"demo\"\n").expect("written");
        first.keep();
        // ... and with one.
        told(OwnedRun::open(first.path()).expect_err("held"));
        told(OwnedRun::replace(root.path(), "demo").expect_err("held"));
        assert!(first.config().is_file(), "nothing was removed");
        let path = first.path().to_owned();
        drop(first);
        OwnedRun::open(&path).expect("free again");
        let again = OwnedRun::replace(root.path(), "demo").expect("free again");
        assert!(!again.config().exists() && again.checkpoints().is_dir());
    }

    #[test]
    fn a_start_that_fails_leaves_nothing_but_what_was_there() {
        let root = tempfile::tempdir().expect("temporary folder");
        let failed = OwnedRun::create(root.path(), "failed").expect("free");
        failed.write_config("name = \"x\"\n").expect("written");
        drop(failed);
        assert!(!root.path().join("failed").exists());

        let kept = OwnedRun::create(root.path(), "kept").expect("free");
        kept.write_config("name = \"x\"\n").expect("written");
        kept.keep();
        drop(kept);
        drop(OwnedRun::open(root.path().join("kept")).expect("a run"));
        assert!(root.path().join("kept/config.toml").is_file());

        fs::create_dir(root.path().join("theirs")).expect("created");
        drop(OwnedRun::create(root.path(), "theirs").expect("empty"));
        assert!(root.path().join("theirs").is_dir(), "we did not make it");
    }

    #[test]
    fn a_disk_without_locks_is_a_warning() {
        let unsupported = TryLockError::Error(io::ErrorKind::Unsupported.into());
        let told = warning(Path::new("runs/x"), Err(unsupported), || unreachable!());
        let told = told.expect("no refusal").expect("a warning");
        assert!(told.contains("`runs/x`"), "{told}");
    }
}
