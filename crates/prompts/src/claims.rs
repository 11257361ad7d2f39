//! Sizes that a file of Arrow claims, checked before memory is asked for: the library takes damaged ones at their word,
//! and a process that asks for too much memory is gone.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};

use arrow_ipc::{Block, Message, root_as_footer, root_as_message};

/// More than any column of a record batch has once it is unpacked.
const MOST_BYTES: i64 = 1 << 32;
/// At the end of a file: the length of its index and the magic bytes.
const TAIL_BYTES: u64 = 10;
/// In front of a packed buffer: how long it is unpacked.
const LENGTH_BYTES: i64 = 8;

/// Whether all sizes can be true. `has_index` is of files; streams have none. The file is then at its beginning.
pub(super) fn are_possible(file: &mut File, has_index: bool) -> io::Result<bool> {
    let len = file.metadata()?.len();
    let are_possible = if has_index {
        of_file(file, len)
    } else {
        of_stream(file, len)
    };
    file.rewind()?;
    match are_possible {
        // What is cut short is told by the reader, in better words.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(true),
        other => other,
    }
}

fn of_file(file: &mut File, len: u64) -> io::Result<bool> {
    let Some(tail) = len.checked_sub(TAIL_BYTES) else {
        return Ok(false);
    };
    file.seek(SeekFrom::Start(tail))?;
    let size = u64::from(word(file)?);
    let Some(start) = tail.checked_sub(size) else {
        return Ok(false);
    };
    let index = bytes(file, start, size)?;
    let Ok(footer) = root_as_footer(&index) else {
        return Ok(false);
    };
    let blocks = footer.dictionaries().into_iter();
    let blocks = blocks.chain(footer.recordBatches()).flatten();
    for block in blocks {
        let Some(start) = block_start(block, len) else {
            return Ok(false);
        };
        if after_message(file, start, len)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Where a block begins that lies inside a file of `len` bytes.
fn block_start(block: &Block, len: u64) -> Option<u64> {
    let start = u64::try_from(block.offset()).ok()?;
    let head = u64::try_from(block.metaDataLength()).ok()?;
    let body = u64::try_from(block.bodyLength()).ok()?;
    let end = start.checked_add(head)?.checked_add(body)?;
    (end <= len).then_some(start)
}

fn of_stream(file: &mut File, len: u64) -> io::Result<bool> {
    let mut start = 0;
    while start < len {
        match after_message(file, start, len)? {
            None => return Ok(false),
            Some(end) if end == start => break,
            Some(end) => start = end,
        }
    }
    Ok(true)
}

/// Where the message at `start` ends: there, if it is the mark of the end; none if one of its sizes cannot be.
fn after_message(file: &mut File, start: u64, len: u64) -> io::Result<Option<u64>> {
    const CONTINUATION: u32 = u32::MAX;
    file.seek(SeekFrom::Start(start))?;
    let (mut size, mut head) = (word(file)?, 4);
    if size == CONTINUATION {
        (size, head) = (word(file)?, 8);
    }
    if size == 0 {
        return Ok(Some(start));
    }
    let (at, size) = (start + head, u64::from(size));
    if at + size > len {
        return Ok(None);
    }
    let told = bytes(file, at, size)?;
    let Ok(message) = root_as_message(&told) else {
        return Ok(None);
    };
    let body = at + size;
    let end = u64::try_from(message.bodyLength()).ok();
    let end = end.and_then(|length| body.checked_add(length));
    match end.filter(|end| *end <= len) {
        Some(end) if buffers_are_possible(file, &message, body)? => Ok(Some(end)),
        _ => Ok(None),
    }
}

/// Whether the packed buffers of a message, whose body begins at `start`, can be as long as they say.
fn buffers_are_possible(file: &mut File, message: &Message, start: u64) -> io::Result<bool> {
    let of_dictionary = || message.header_as_dictionary_batch()?.data();
    let batch = message.header_as_record_batch().or_else(of_dictionary);
    let Some(batch) = batch.filter(|batch| batch.compression().is_some()) else {
        return Ok(true);
    };
    for buffer in batch.buffers().into_iter().flatten() {
        let (offset, length) = (buffer.offset(), buffer.length());
        if length < LENGTH_BYTES {
            continue;
        }
        let fits = offset >= 0
            && offset
                .checked_add(length)
                .is_some_and(|end| end <= message.bodyLength());
        if !fits {
            return Ok(false);
        }
        file.seek(SeekFrom::Start(start + offset as u64))?;
        let mut unpacked = [0; LENGTH_BYTES as usize];
        file.read_exact(&mut unpacked)?;
        if i64::from_le_bytes(unpacked) > MOST_BYTES {
            return Ok(false);
        }
    }
    Ok(true)
}

fn word(file: &mut File) -> io::Result<u32> {
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// `size` bytes, which the file has.
fn bytes(file: &mut File, start: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; size as usize];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}
