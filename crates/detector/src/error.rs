//! Errors of detectors.

use std::path::PathBuf;

/// The environment variable that names the library where nothing else does.
pub const LIBRARY_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Why nothing can be detected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetectorError {
    /// Nobody said where the library is.
    #[error(
        "a detector needs ONNX Runtime 1.17 or newer: name its library, by `{LIBRARY_VARIABLE}` in the environment for \
         example; Python's wheel holds one (`pip install onnxruntime`, then `onnxruntime/capi/libonnxruntime.so.*`)"
    )]
    NoLibrary,
    /// The library is not there or is none.
    #[error("cannot load ONNX Runtime from `{}`: {message}", path.display())]
    Library {
        /// Where it should be.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A model that cannot be loaded.
    #[error("cannot load the detector `{}`: {message}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A model with other inputs and outputs.
    #[error("the detector `{}` has another interface: {message}", path.display())]
    Interface {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        message: String,
    },
    /// A file beside a model that says something else than can be done.
    #[error("cannot prepare pictures for the detector `{}`: {message}", path.display())]
    Preprocessor {
        /// The model.
        path: PathBuf,
        /// The file, its key, what was expected and found.
        message: String,
    },
    /// A model that fails on a picture, or answers with something else than it says.
    #[error("the detector failed: {message}")]
    Run {
        /// What is wrong.
        message: String,
    },
}
