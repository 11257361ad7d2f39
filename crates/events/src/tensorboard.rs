//! Scalars for `TensorBoard`: `events.out.tfevents.*`, written without TensorFlow.
//!
//! A file is a sequence of records `length u64 | masked crc of length u32 | data | masked crc of data u32`
//! (little endian); the data is an `Event` message (tensorflow/core/util/event.proto):
//! `wall_time = 1 double, step = 2 int64, file_version = 3 string, summary = 5, session_log = 7`, with
//! `Summary { value = 1 { tag = 1 string, simple_value = 2 float } }` and `SessionLog { status = 1 }`.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::clock::seconds_since_epoch;
use crate::crc32c::masked;
use crate::error::EventsError;
use crate::metrics::Record;

/// `SessionLog.START`: the reader drops what an earlier file has at this step and after.
const SESSION_START: u64 = 1;

/// Writes one event file.
#[derive(Debug)]
pub struct TensorBoardWriter {
    path: PathBuf,
    file: File,
}

impl TensorBoardWriter {
    /// Makes the folder and a new event file in it.
    ///
    /// With `Some(step)` the file says that the run goes on after `step`, so that `TensorBoard` drops
    /// what earlier files of the folder have beyond it.
    ///
    /// # Errors
    /// The folder or file cannot be made or written.
    pub fn open(folder: impl AsRef<Path>, resume_from: Option<u64>) -> Result<Self, EventsError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(EventsError::io("create", folder))?;
        let now = seconds_since_epoch();
        let path = folder.join(format!(
            "events.out.tfevents.{:010}.dmdr.{}.{}",
            now as u64,
            process::id(),
            COUNTER.fetch_add(1, Ordering::Relaxed)
        ));
        let file = File::options()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(EventsError::io("create", &path))?;
        let mut writer = Self { path, file };
        let mut version = event(now, 0);
        bytes_field(&mut version, 3, b"brain.Event:2");
        writer.write(&version)?;
        if let Some(step) = resume_from {
            let mut start = event(now, step + 1);
            let mut session = Vec::new();
            varint_field(&mut session, 1, SESSION_START);
            bytes_field(&mut start, 7, &session);
            writer.write(&start)?;
        }
        Ok(writer)
    }

    /// The event file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all numbers of a record, tagged `kind/name`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, record: &Record) -> Result<(), EventsError> {
        let kind = record.kind.name();
        let scalars = record
            .values
            .iter()
            .map(|(name, value)| (format!("{kind}/{name}"), *value));
        self.scalars(record.update, scalars)
    }

    /// Writes numbers of one step by tag; `TensorBoard` keeps 32-bit floats.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalars<T: AsRef<str>>(
        &mut self,
        step: u64,
        scalars: impl IntoIterator<Item = (T, f64)>,
    ) -> Result<(), EventsError> {
        let mut summary = Vec::new();
        for (tag, value) in scalars {
            let mut entry = Vec::new();
            bytes_field(&mut entry, 1, tag.as_ref().as_bytes());
            entry.push(2 << 3 | FIXED32);
            entry.extend_from_slice(&(value as f32).to_le_bytes());
            bytes_field(&mut summary, 1, &entry);
        }
        let mut event = event(seconds_since_epoch(), step);
        bytes_field(&mut event, 5, &summary);
        self.write(&event)
    }

    /// Frames one message as a record.
    fn write(&mut self, data: &[u8]) -> Result<(), EventsError> {
        let length = (data.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(data.len() + 16);
        record.extend_from_slice(&length);
        record.extend_from_slice(&masked(&length).to_le_bytes());
        record.extend_from_slice(data);
        record.extend_from_slice(&masked(data).to_le_bytes());
        self.file
            .write_all(&record)
            .map_err(EventsError::io("append to", &self.path))
    }
}

// Protocol buffers: a key is `field << 3 | wire type`.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const BYTES: u8 = 2;
const FIXED32: u8 = 5;

/// An `Event` with its time (seconds since 1970) and step.
fn event(wall_time: f64, step: u64) -> Vec<u8> {
    let mut event = vec![1 << 3 | FIXED64];
    event.extend_from_slice(&wall_time.to_le_bytes());
    varint_field(&mut event, 2, step);
    event
}

fn varint_field(message: &mut Vec<u8>, field: u8, value: u64) {
    message.push(field << 3 | VARINT);
    varint(message, value);
}

fn bytes_field(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | BYTES);
    varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

/// Seven bits per byte, lowest first; the top bit says that more follow.
fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests;
