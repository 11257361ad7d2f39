//! The CUDA part of libtorch, opened while the program runs. So one program serves machines with a card and without.
//!
//! The program is linked against libtorch's CPU part. `libtorch_cuda.so` of a PyTorch of the same version finds that part in
//! the process and registers its kernels there. It has to be open before libtorch is first asked for CUDA devices: libtorch
//! asks once whether there is such a part, and keeps the answer.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{LIBTORCH_VERSION, shim};

/// File of the part.
const FILE: &str = "libtorch_cuda.so";
/// Names the folder of a PyTorch or of a libtorch; then no other place is looked at.
const VARIABLE: &str = "DMDR_TORCH";
/// What a Python says of its PyTorch, without importing it.
const WHERE: &str = "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')";

/// The part that is open, and what the driver says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cuda {
    /// The file; none if the process was started with it.
    pub file: Option<PathBuf>,
    /// What the driver supports, such as `(13, 0)`; none without a driver.
    pub driver: Option<(u32, u32)>,
    /// Names of the cards that the driver sees, with the bytes of their memory.
    pub cards: Vec<(String, u64)>,
}

/// Why there is no CUDA part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// None was found.
    #[error(
        "there is no CUDA part of libtorch {LIBTORCH_VERSION}: {}. Install PyTorch {LIBTORCH_VERSION} with CUDA, run \
         `make setup-cuda`, or name the folder of one in `{VARIABLE}`",
        searched.join("; ")
    )]
    Missing {
        /// Places, and what was there.
        searched: Vec<String>,
    },
    /// One was found and cannot be opened.
    #[error("the CUDA part `{}` cannot be opened: {reason}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl fmt::Display for Cuda {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "part `{}`", file.display())?,
            None => write!(f, "part of the process")?,
        }
        match self.driver {
            None => write!(
                f,
                ", no NVIDIA driver (`libcuda.so.1` is not found): install one"
            ),
            Some((major, minor)) => write!(
                f,
                ", driver for CUDA {major}.{minor}, {} card{}",
                self.cards.len(),
                if self.cards.len() == 1 { "" } else { "s" }
            ),
        }
    }
}

/// Opens the part, once in a process, or says what is missing. To be called before libtorch is asked for CUDA devices.
///
/// # Errors
/// No part of this version, or one that cannot be opened.
pub fn open_cuda() -> Result<&'static Cuda, &'static CudaError> {
    static OPENED: OnceLock<Result<Cuda, CudaError>> = OnceLock::new();
    OPENED.get_or_init(open).as_ref()
}

fn open() -> Result<Cuda, CudaError> {
    let file = if shim::is_open(FILE) {
        None
    } else {
        let file = find(&places())?;
        if let Some(reason) = shim::open_library(&file) {
            return Err(CudaError::Unusable { file, reason });
        }
        Some(file)
    };
    Ok(Cuda {
        file,
        driver: shim::driver_version(),
        cards: shim::driver_cards(),
    })
}

/// Folders of a PyTorch or libtorch with a word on where each is from.
fn places() -> Vec<(String, PathBuf)> {
    if let Some(folder) = env::var_os(VARIABLE) {
        return vec![(format!("`{VARIABLE}`"), PathBuf::from(folder))];
    }
    let mut places = Vec::new();
    if let Some(root) = shim::libtorch_file().as_deref().and_then(root_of) {
        places.push(("the libtorch of this program".to_owned(), root.to_owned()));
        let beside = root.with_file_name(".libtorch-cuda");
        places.push(("`make setup-cuda`".to_owned(), beside));
    }
    for python in ["python3", "python"] {
        let output = Command::new(python).args(["-c", WHERE]).output();
        let folder = output.ok().filter(|output| output.status.success());
        let folder = folder.and_then(|output| String::from_utf8(output.stdout).ok());
        let folder = folder.map(|text| PathBuf::from(text.trim()));
        if let Some(folder) = folder.filter(|folder| !folder.as_os_str().is_empty()) {
            places.push((format!("`{python}`'s PyTorch"), folder));
        }
    }
    places
}

/// The folder that a library's folder `lib` lies in.
fn root_of(library: &Path) -> Option<&Path> {
    library.parent()?.parent()
}

/// The first file of this version among `places`.
fn find(places: &[(String, PathBuf)]) -> Result<PathBuf, CudaError> {
    let mut searched = Vec::new();
    for (origin, folder) in places {
        let file = folder.join("lib").join(FILE);
        let shown = folder.display();
        if !file.is_file() {
            searched.push(format!("{origin}, `{shown}`, has no `lib/{FILE}`"));
            continue;
        }
        match version_of(folder) {
            Some(version) if version == LIBTORCH_VERSION => return Ok(file),
            Some(other) => searched.push(format!("{origin}, `{shown}`, is of version {other}")),
            None => searched.push(format!("{origin}, `{shown}`, does not say its version")),
        }
    }
    if searched.is_empty() {
        searched.push("no Python with PyTorch was found".to_owned());
    }
    Err(CudaError::Missing { searched })
}

/// The version of a PyTorch (`version.py`) or of a libtorch (`build-version`), without what follows a `+`.
fn version_of(folder: &Path) -> Option<String> {
    let of_python = || {
        let text = fs::read_to_string(folder.join("version.py")).ok()?;
        let line = text.lines().find(|line| line.starts_with("__version__"))?;
        Some(line.split(['\'', '"']).nth(1)?.to_owned())
    };
    let of_libtorch = || fs::read_to_string(folder.join("build-version")).ok();
    let version = of_python().or_else(of_libtorch)?;
    Some(version.trim().split('+').next()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torch(folder: &Path, version: &str) -> (String, PathBuf) {
        fs::create_dir_all(folder.join("lib")).expect("writable");
        fs::write(folder.join("lib").join(FILE), "no library").expect("writable");
        let text = format!("from typing import Optional\n__version__ = '{version}'\n");
        fs::write(folder.join("version.py"), text).expect("writable");
        ("here".to_owned(), folder.to_owned())
    }

    #[test]
    fn the_first_of_this_version_is_taken_and_others_are_named() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let old = torch(&dir.path().join("old"), "2.9.1+cu128");
        let right = torch(
            &dir.path().join("right"),
            &format!("{LIBTORCH_VERSION}+cu130"),
        );
        let none = ("there".to_owned(), dir.path().join("none"));
        let file = find(&[none.clone(), old.clone(), right]).expect("the third");
        assert!(file.ends_with("right/lib/libtorch_cuda.so"), "{file:?}");

        let error = find(&[none, old])
            .expect_err("none of this version")
            .to_string();
        for word in [
            "none`, has no `lib/",
            "old`, is of version 2.9.1",
            "DMDR_TORCH",
        ] {
            assert!(error.contains(word), "{error}");
        }
        let error = find(&[]).expect_err("nothing").to_string();
        assert!(error.contains("no Python with PyTorch"), "{error}");
    }

    #[test]
    fn a_libtorch_says_its_version_too() {
        let dir = tempfile::tempdir().expect("temporary folder");
        assert_eq!(version_of(dir.path()), None);
        fs::write(dir.path().join("build-version"), "2.11.0+cpu\n").expect("writable");
        assert_eq!(version_of(dir.path()).as_deref(), Some("2.11.0"));
    }

    #[test]
    fn a_file_that_is_no_library_is_told_with_its_reason() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (_, folder) = torch(dir.path(), LIBTORCH_VERSION);
        let file = folder.join("lib").join(FILE);
        let reason = shim::open_library(&file).expect("no library");
        assert!(reason.contains("libtorch_cuda.so"), "{reason}");
    }

    /// The libtorch of this very process is found, and it is of the version that the program is built for.
    #[test]
    fn the_libtorch_of_this_process_is_found() {
        let file = shim::libtorch_file().expect("loaded");
        let root = root_of(&file).expect("a folder");
        assert!(root.join("lib").is_dir(), "{}", root.display());
        if let Some(version) = version_of(root) {
            assert_eq!(version, LIBTORCH_VERSION);
        }
    }
}
