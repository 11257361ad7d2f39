//! Text files as they come: packed or not, with a byte order mark or without, with any end of line.
//!
//! Every reader of text in this crate opens its file here, so that a file means the same to all of them.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::FileError;

/// An open file.
pub type Text = Box<dyn BufRead>;

/// Editors, spreadsheets and shells of Windows write this before UTF-8. It is no part of the text.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// First bytes of packed files that are not unpacked here.
const PACKED: [(&[u8], &str); 3] = [
    (b"BZh", "bzip2"),
    (b"\xFD7zXZ\0", "xz"),
    (b"PK\x03\x04", "zip"),
];
const GZIP: &[u8] = b"\x1F\x8B";
const ZSTD: &[u8] = b"\x28\xB5\x2F\xFD";

/// First bytes of text that is not UTF-8, the longest first: a mark of UTF-32 begins like one of UTF-16.
const OTHER_TEXT: [(&[u8], &str); 4] = [
    (b"\xFF\xFE\0\0", "UTF-32"),
    (b"\0\0\xFE\xFF", "UTF-32"),
    (b"\xFF\xFE", "UTF-16"),
    (b"\xFE\xFF", "UTF-16"),
];

/// The most bytes that one of these marks has.
const MARK_BYTES: u64 = 6;

/// The bytes of a file, unpacked if it is packed with gzip or zstd. Its content tells, not its name: a download may
/// have been unpacked on its way.
///
/// # Errors
/// A file that cannot be read, or is packed in another way.
pub(crate) fn unpacked(path: &Path) -> Result<Text, FileError> {
    let failed = || FileError::io("read", path);
    let file = File::open(path).map_err(FileError::io("open", path))?;
    let (head, file) = peek(Box::new(BufReader::new(file))).map_err(failed())?;
    if let Some((_, packing)) = PACKED.iter().find(|(mark, _)| head.starts_with(mark)) {
        let path = path.to_owned();
        return Err(FileError::Packed { path, packing });
    }
    Ok(if head.starts_with(GZIP) {
        Box::new(BufReader::new(MultiGzDecoder::new(file)))
    } else if head.starts_with(ZSTD) {
        let unpacked = zstd::Decoder::with_buffer(file).map_err(failed())?;
        Box::new(BufReader::new(unpacked))
    } else {
        file
    })
}

/// The text of a file from behind its byte order mark.
///
/// # Errors
/// A file that cannot be read, is packed in another way, or begins with a byte order mark of UTF-16 or UTF-32.
pub fn open(path: &Path) -> Result<Text, FileError> {
    let failed = || FileError::io("read", path);
    let (head, mut file) = peek(unpacked(path)?).map_err(failed())?;
    if let Some((_, encoding)) = OTHER_TEXT.iter().find(|(mark, _)| head.starts_with(mark)) {
        let path = path.to_owned();
        return Err(FileError::Encoding { path, encoding });
    }
    if head.starts_with(BYTE_ORDER_MARK) {
        let mut mark = [0; BYTE_ORDER_MARK.len()];
        file.read_exact(&mut mark).map_err(failed())?;
    }
    Ok(file)
}

/// The whole text of a file, as [`open`] gives it.
///
/// # Errors
/// As for [`open`], and bytes that are not UTF-8.
pub fn read(path: &Path) -> Result<String, FileError> {
    let mut text = String::new();
    open(path)?
        .read_to_string(&mut text)
        .map_err(FileError::io("read", path))?;
    Ok(text)
}

/// The first bytes, and a reader that begins with them again.
fn peek(mut file: Text) -> io::Result<(Vec<u8>, Text)> {
    let mut head = Vec::new();
    file.by_ref().take(MARK_BYTES).read_to_end(&mut head)?;
    let whole = Cursor::new(head.clone()).chain(file);
    Ok((head, Box::new(whole)))
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Its bytes, without a byte order mark: files with one that are joined have it inside.
    Whole(Vec<u8>),
    /// One that is longer than allowed; it was read over but not held.
    TooLong {
        /// How long it is.
        bytes: u64,
    },
}

/// The next line; none at the end of the file. It ends with LF, CR LF or, as on old Macs, CR alone. Other characters
/// that some standards call line ends, such as U+2028, are text.
pub(crate) fn next_line(file: &mut impl BufRead, limit: u64) -> io::Result<Option<Line>> {
    let (mut line, mut bytes) = (Vec::new(), 0);
    let end = loop {
        let piece = file.fill_buf()?;
        if piece.is_empty() {
            if bytes == 0 {
                return Ok(None);
            }
            break None;
        }
        let end = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        let text = &piece[..end.unwrap_or(piece.len())];
        bytes += text.len() as u64;
        if bytes <= limit {
            line.extend_from_slice(text);
        }
        let (end, used) = (end.map(|end| piece[end]), text.len());
        file.consume(used + usize::from(end.is_some()));
        if end.is_some() {
            break end;
        }
    };
    if end == Some(b'\r') && file.fill_buf()?.first() == Some(&b'\n') {
        file.consume(1);
    }
    if bytes > limit {
        return Ok(Some(Line::TooLong { bytes }));
    }
    if line.starts_with(BYTE_ORDER_MARK) {
        line.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(Some(Line::Whole(line)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::*;

    fn lines(text: &[u8], buffer: usize, limit: u64) -> Vec<Line> {
        let mut file = BufReader::with_capacity(buffer, text);
        let next = || next_line(&mut file, limit).expect("memory is readable");
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn lines_end_in_three_ways_wherever_the_buffer_ends() {
        let text = "\u{FEFF}a\r\nb\rc\n\r\r\n\u{FEFF}d\u{2028}e\u{85}\t \rf".as_bytes();
        let expected = ["a", "b", "c", "", "", "d\u{2028}e\u{85}\t ", "f"];
        let expected = expected.map(|line| Line::Whole(line.as_bytes().to_vec()));
        for buffer in 1..text.len() + 2 {
            assert_eq!(lines(text, buffer, 100), expected, "{buffer}");
        }
        assert_eq!(lines(b"", 8, 9), []);
        let long = [Line::TooLong { bytes: 5 }, Line::Whole(b"ab".to_vec())];
        assert_eq!(lines(b"abcde\rab\r", 2, 4), long);
    }

    #[test]
    fn a_file_is_its_text_however_it_is_packed_and_marked() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("a.txt");
        let mut gzip = Vec::new();
        // Several members one after the other are one file: `cat a.gz b.gz`.
        for part in ["\u{FEFF}", "a red", " cow"] {
            let mut writer = flate2::write::GzEncoder::new(&mut gzip, flate2::Compression::fast());
            writer.write_all(part.as_bytes()).expect("written");
            writer.finish().expect("written");
        }
        let zstd = zstd::encode_all("\u{FEFF}a red cow".as_bytes(), 0).expect("packed");
        for bytes in [
            b"a red cow".to_vec(),
            b"\xEF\xBB\xBFa red cow".to_vec(),
            gzip.clone(),
            zstd,
        ] {
            fs::write(&path, bytes).expect("writable");
            assert_eq!(read(&path).expect("text"), "a red cow");
        }
        for short in ["", "a", "\u{FEFF}"] {
            fs::write(&path, short).expect("writable");
            assert_eq!(
                read(&path).expect("text"),
                short.trim_start_matches('\u{FEFF}')
            );
        }
        let utf_16: Vec<u8> = "\u{FEFF}cow"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let utf_32: Vec<u8> = "\u{FEFF}cow"
            .chars()
            .flat_map(|c| u32::from(c).to_be_bytes())
            .collect();
        let utf_32_le: Vec<u8> = "\u{FEFF}"
            .chars()
            .flat_map(|c| u32::from(c).to_le_bytes())
            .collect();
        for (bytes, expected) in [
            (utf_16, "is UTF-16"),
            (b"\xFE\xFF\0a".to_vec(), "is UTF-16"),
            (utf_32, "is UTF-32"),
            (utf_32_le, "is UTF-32"),
            (b"BZh91AY".to_vec(), "packed with bzip2"),
            (b"PK\x03\x04..".to_vec(), "packed with zip"),
            (b"\xFD7zXZ\0\0".to_vec(), "packed with xz"),
            (b"cow \xFF".to_vec(), "cannot read"),
            (gzip[..gzip.len() - 9].to_vec(), "cannot read"),
        ] {
            fs::write(&path, bytes).expect("writable");
            let error = read(&path).expect_err(expected).to_string();
            assert!(
                error.contains(expected) && error.contains("a.txt"),
                "{error}"
            );
        }
    }
}
