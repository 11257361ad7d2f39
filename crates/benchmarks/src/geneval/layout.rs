//! The folder of images that the official scorer takes:
//!
//! ```text
//! 00000/metadata.jsonl      the prompt, one line
//! 00000/samples/0000.png    its images
//! 00000/samples/0001.png
//! 00001/...
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use dmdr_events::atomic_write;
use dmdr_prompts::{FileError, json_lines};

use super::Metadata;

/// Paths of such a folder. It tells where things go; images are written by whoever makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Name of an image below the root, as detectors' files give it.
    pub fn image_name(prompt: usize, sample: usize) -> String {
        format!("{prompt:05}/samples/{sample:04}.png")
    }

    /// Where image `sample` of prompt `prompt` goes, both from 0.
    pub fn image(&self, prompt: usize, sample: usize) -> PathBuf {
        self.root.join(Self::image_name(prompt, sample))
    }

    /// Where the checks of prompt `prompt` go.
    pub fn metadata(&self, prompt: usize) -> PathBuf {
        self.root
            .join(format!("{prompt:05}"))
            .join("metadata.jsonl")
    }

    /// Makes the folders of all prompts and writes their metadata.
    ///
    /// # Errors
    /// A folder or file that cannot be written.
    pub fn prepare(&self, prompts: &[Metadata]) -> Result<(), FileError> {
        for (prompt, metadata) in prompts.iter().enumerate() {
            let path = self.metadata(prompt);
            let samples = path.with_file_name("samples");
            fs::create_dir_all(&samples).map_err(FileError::io("create", &samples))?;
            atomic_write(&path, json_lines::render(std::slice::from_ref(metadata)))?;
        }
        Ok(())
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }
}
