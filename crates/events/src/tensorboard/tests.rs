//! Decodes what was written, with a decoder of its own.

use std::fs;

use super::TensorBoardWriter;
use crate::crc32c::crc32c;
use crate::metrics::{Kind, Record};

/// A field of a message: its number and its raw value.
#[derive(Debug, PartialEq)]
enum Field<'a> {
    Varint(u64, u64),
    Double(u64, f64),
    Float(u64, f32),
    Bytes(u64, &'a [u8]),
}

/// Splits a file into messages, checking lengths and both checksums.
fn messages(mut bytes: &[u8]) -> Vec<&[u8]> {
    fn checked(data: &[u8], stored: &[u8]) {
        let stored = u32::from_le_bytes(stored.try_into().expect("4 bytes"));
        let unmasked = stored.wrapping_sub(0xA282_EAD8).rotate_left(15);
        assert_eq!(unmasked, crc32c(data));
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        checked(&bytes[..8], &bytes[8..12]);
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
        let data = &bytes[12..12 + length];
        checked(data, &bytes[12 + length..16 + length]);
        found.push(data);
        bytes = &bytes[16 + length..];
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let byte = bytes[0];
        *bytes = &bytes[1..];
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            break;
        }
    }
    value
}

fn fields(mut bytes: &[u8]) -> Vec<Field<'_>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let number = key >> 3;
        let field = match key & 7 {
            0 => Field::Varint(number, varint(&mut bytes)),
            1 => {
                let (head, tail) = bytes.split_at(8);
                bytes = tail;
                Field::Double(
                    number,
                    f64::from_le_bytes(head.try_into().expect("8 bytes")),
                )
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (head, tail) = bytes.split_at(length);
                bytes = tail;
                Field::Bytes(number, head)
            }
            5 => {
                let (head, tail) = bytes.split_at(4);
                bytes = tail;
                Field::Float(
                    number,
                    f32::from_le_bytes(head.try_into().expect("4 bytes")),
                )
            }
            other => panic!("wire type {other}"),
        };
        found.push(field);
    }
    found
}

/// Step, and tag and number of each scalar.
fn scalars(message: &[u8]) -> (u64, Vec<(String, f32)>) {
    let event = fields(message);
    let [
        Field::Double(1, time),
        Field::Varint(2, step),
        Field::Bytes(5, summary),
    ] = event[..]
    else {
        panic!("not a summary: {event:?}");
    };
    assert!(time > 1.7e9, "seconds since 1970");
    let values = fields(summary)
        .iter()
        .map(|value| {
            let Field::Bytes(1, value) = value else {
                panic!("not a value: {value:?}");
            };
            match fields(value)[..] {
                [Field::Bytes(1, tag), Field::Float(2, number)] => {
                    (String::from_utf8(tag.to_vec()).expect("UTF-8"), number)
                }
                ref other => panic!("not a scalar: {other:?}"),
            }
        })
        .collect();
    (step, values)
}

#[test]
fn records_are_scalars_by_kind_and_name() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let mut writer =
        TensorBoardWriter::open(folder.path().join("tensorboard"), None).expect("opened");
    let values = [("loss", 0.25), ("norm", f64::INFINITY)];
    writer
        .append(&Record::new(300, Kind::Train, 1.0, values))
        .expect("appended");
    writer
        .scalars(1 << 40, [("x", f64::NAN)])
        .expect("appended");

    let name = writer
        .path()
        .file_name()
        .expect("name")
        .to_string_lossy()
        .into_owned();
    assert!(name.starts_with("events.out.tfevents."), "{name}");
    let bytes = fs::read(writer.path()).expect("readable");
    let messages = messages(&bytes);
    assert_eq!(messages.len(), 3);
    assert!(fields(messages[0]).contains(&Field::Bytes(3, b"brain.Event:2")));
    let expected = vec![
        ("train/loss".to_owned(), 0.25),
        ("train/norm".to_owned(), f32::INFINITY),
    ];
    assert_eq!(scalars(messages[1]), (300, expected));
    let (step, values) = scalars(messages[2]);
    assert_eq!(step, 1 << 40);
    assert!(values[0].1.is_nan());
}

#[test]
fn a_resumed_run_tells_where_it_starts() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let first = TensorBoardWriter::open(folder.path(), None).expect("opened");
    let second = TensorBoardWriter::open(folder.path(), Some(49)).expect("opened");
    assert_ne!(first.path(), second.path(), "each process has its own file");
    let bytes = fs::read(second.path()).expect("readable");
    let event = fields(messages(&bytes)[1]);
    assert_eq!(
        event[1..],
        [Field::Varint(2, 50), Field::Bytes(7, &[0x08, 0x01])]
    );
}

#[test]
fn an_unwritable_folder_is_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let file = folder.path().join("file");
    fs::write(&file, "").expect("written");
    let error = TensorBoardWriter::open(file.join("tensorboard"), None).expect_err("no folder");
    assert!(error.to_string().contains("file/tensorboard"), "{error}");
}
