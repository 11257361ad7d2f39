//! Prompts on disk with their places in memory: eight bytes a prompt, whatever its length.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

/// Texts being written, one after the other, into a file without a name, which vanishes with the process.
#[derive(Debug)]
pub(super) struct SpoolWriter {
    file: BufWriter<File>,
    ends: Vec<u64>,
}

/// Texts that can be read in any order, by several threads.
///
/// It is a copy of what the sources held: a file that changes under a running job cannot change its prompts.
#[derive(Debug)]
pub(super) struct Spool {
    file: Mutex<File>,
    ends: Vec<u64>,
}

impl SpoolWriter {
    pub(super) fn new(folder: Option<&Path>) -> io::Result<Self> {
        let file = match folder {
            Some(folder) => tempfile::tempfile_in(folder)?,
            None => tempfile::tempfile()?,
        };
        let (file, ends) = (BufWriter::new(file), Vec::new());
        Ok(Self { file, ends })
    }

    pub(super) fn push(&mut self, text: &str) -> io::Result<()> {
        self.file.write_all(text.as_bytes())?;
        let start = self.ends.last().copied().unwrap_or(0);
        self.ends.push(start + text.len() as u64);
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<Spool> {
        let file = Mutex::new(self.file.into_inner()?);
        Ok(Spool {
            file,
            ends: self.ends,
        })
    }
}

impl Spool {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Text number `index`.
    ///
    /// # Panics
    /// There are fewer.
    pub(super) fn get(&self, index: usize) -> io::Result<String> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        let mut bytes = vec![0; (self.ends[index] - start) as usize];
        // A thread that died while holding the lock leaves at most a wrong cursor, and that is set anew.
        let mut file = self
            .file
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(io::Error::other)
    }
}
