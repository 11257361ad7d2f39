//! Records on disk: round trips, resuming, torn and broken lines.

use std::fs;

use proptest::prelude::*;

use super::{Kind, MetricsWriter, Record, read};
use crate::error::EventsError;

fn record(update: u64) -> Record {
    Record::new(
        update,
        Kind::Train,
        update as f64 * 0.5,
        [("loss", 1.0 / (update + 1) as f64)],
    )
}

fn write(path: &std::path::Path, updates: std::ops::Range<u64>) {
    let mut writer = MetricsWriter::open(path, None).expect("opened");
    for update in updates {
        writer.append(&record(update)).expect("appended");
    }
    writer.sync().expect("synced");
}

#[test]
fn one_line_per_record() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("metrics.jsonl");
    assert_eq!(read(&path).expect("a missing file has no records"), []);
    write(&path, 0..3);
    let text = fs::read_to_string(&path).expect("readable");
    assert_eq!(
        text.lines().nth(1),
        Some(r#"{"update":1,"kind":"train","wall_s":0.5,"values":{"loss":0.5}}"#)
    );
    assert_eq!(
        read(&path).expect("read"),
        [record(0), record(1), record(2)]
    );
}

#[test]
fn a_new_run_does_not_write_into_an_old_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("metrics.jsonl");
    write(&path, 0..1);
    let error = MetricsWriter::open(&path, None).expect_err("records are there");
    assert!(matches!(error, EventsError::MetricsExist { .. }), "{error}");
}

#[test]
fn resuming_drops_later_records_and_a_torn_line() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("metrics.jsonl");
    write(&path, 0..6);
    let whole = fs::read(&path).expect("readable");
    fs::write(&path, &whole[..whole.len() - 7]).expect("torn");
    assert_eq!(read(&path).expect("torn last line").len(), 5);

    let mut writer = MetricsWriter::open(&path, Some(3)).expect("resumed");
    writer.append(&record(4)).expect("appended");
    let updates: Vec<u64> = read(&path)
        .expect("read")
        .iter()
        .map(|r| r.update)
        .collect();
    assert_eq!(updates, [0, 1, 2, 3, 4]);
    assert_eq!(
        fs::read_dir(folder.path()).expect("listable").count(),
        1,
        "no temporary file"
    );
}

#[test]
fn a_whole_last_line_without_its_newline_is_kept() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("metrics.jsonl");
    write(&path, 0..2);
    let whole = fs::read(&path).expect("readable");
    fs::write(&path, &whole[..whole.len() - 1]).expect("torn");
    let mut writer = MetricsWriter::open(&path, Some(9)).expect("resumed");
    writer.append(&record(2)).expect("appended");
    assert_eq!(
        read(&path).expect("read"),
        [record(0), record(1), record(2)]
    );
}

#[test]
fn resuming_without_a_file_starts_one() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("metrics.jsonl");
    MetricsWriter::open(&path, Some(3))
        .expect("opened")
        .append(&record(4))
        .expect("appended");
    assert_eq!(read(&path).expect("read"), [record(4)]);
}

#[test]
fn a_bad_line_in_the_middle_is_an_error_with_its_number() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("metrics.jsonl");
    write(&path, 0..2);
    let text = fs::read_to_string(&path).expect("readable");
    for bad in [
        "{\"update\":",
        "",
        "{\"update\":1,\"kind\":\"trian\",\"wall_s\":0,\"values\":{}}",
    ] {
        let lines: Vec<&str> = text.lines().collect();
        fs::write(&path, format!("{}\n{bad}\n{}\n", lines[0], lines[1])).expect("written");
        let error = read(&path).expect_err(bad);
        assert!(
            error.to_string().contains("line 2 is not a record"),
            "{error}"
        );
        MetricsWriter::open(&path, Some(5)).expect_err("resuming does not hide it");
    }
}

#[test]
fn numbers_that_json_lacks_survive() {
    let values = [
        ("a", f64::NAN),
        ("b", f64::INFINITY),
        ("c", f64::NEG_INFINITY),
        ("d", -0.0),
    ];
    let text = serde_json::to_string(&Record::new(0, Kind::Train, 0.0, values)).expect("renders");
    assert!(
        text.contains(r#""a":"NaN","b":"inf","c":"-inf","d":-0.0"#),
        "{text}"
    );
    let back: Record = serde_json::from_str(&text).expect("parses");
    assert!(back.values["a"].is_nan());
    for (name, value) in &values[1..] {
        assert_eq!(back.values[*name].to_bits(), value.to_bits());
    }
    let null = r#"{"update":0,"kind":"train","wall_s":0,"values":{"a":null,"b":3}}"#;
    let back: Record = serde_json::from_str(null).expect("parses");
    assert!(back.values["a"].is_nan());
    serde_json::from_str::<Record>(&text.replace("NaN", "nope")).expect_err("not a number");
}

proptest! {
    /// Every bit of every float, through the file.
    #[test]
    fn round_trip(update in any::<u64>(), values in prop::collection::btree_map("[a-z/_.\"\\\\ ]{1,8}", any::<f64>(), 0..5)) {
        let written = Record { update, kind: Kind::Evaluate, wall_s: 1.5, values };
        let text = serde_json::to_string(&written).expect("renders");
        prop_assert!(!text.contains('\n'));
        let back: Record = serde_json::from_str(&text).expect("parses");
        prop_assert_eq!(back.update, update);
        prop_assert_eq!(back.values.len(), written.values.len());
        for (name, value) in &written.values {
            let read = back.values[name];
            prop_assert!(read.to_bits() == value.to_bits() || (read.is_nan() && value.is_nan()));
        }
    }

    /// Killed at any byte, the file keeps every whole line and can be resumed.
    #[test]
    fn any_cut_can_be_resumed(share in 0.0..1.0) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("metrics.jsonl");
        write(&path, 0..4);
        let whole = fs::read(&path).expect("readable");
        let cut = (share * whole.len() as f64) as usize;
        fs::write(&path, &whole[..cut]).expect("cut");
        let lines = whole[..cut].split(|byte| *byte == b'\n').count() - 1;
        let kept = read(&path).expect("torn at most at the end").len();
        prop_assert!(kept == lines || kept == lines + 1);
        MetricsWriter::open(&path, Some(1)).expect("resumed").append(&record(2)).expect("appended");
        prop_assert_eq!(read(&path).expect("read").len(), kept.min(2) + 1);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_with_a_hint() {
    let mut writer = MetricsWriter::open("/dev/full", None).expect("opened");
    let error = writer
        .append(&record(1))
        .expect_err("no space left")
        .to_string();
    assert!(error.contains("cannot append to `/dev/full`"), "{error}");
    assert!(error.contains("free some space and try again"), "{error}");
}
