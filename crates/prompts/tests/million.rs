//! A million prompts: the memory they take, also where a quotation mark is lost, and an order that goes on anywhere. A process of its own, since the system counts
//! the most that a process ever took.
#![cfg(target_os = "linux")]

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use dmdr_prompts::{Options, PromptSet, Source};
use parquet::{
    data_type::{ByteArray, ByteArrayType},
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::parser::parse_message_type,
};

const COUNT: u64 = 1_000_000;
const BATCH: u64 = 16;
const RANKS: u64 = 2;
/// Where one job stops and another goes on: the middle of the first epoch.
const STEP: u64 = COUNT / (BATCH * RANKS) / 2;
/// Half of what is promised, and less than the prompts would take as strings.
const MAX_BYTES: u64 = 100_000_000;

/// Makes a file of all prompts.
type MakeFile = fn(&Path);

/// Prompt number `index`; no two are alike.
fn prompt(index: u64) -> String {
    let scenes = [
        "a red cow on a hill",
        "два кота на столе",
        "three boats",
        "a \"sign\"",
    ];
    let scene = scenes[index as usize % scenes.len()];
    format!("{scene}, seen from the north in the evening light, number {index}")
}

fn json(index: u64) -> String {
    serde_json::json!({ "id": index, "prompt": prompt(index) }).to_string()
}

fn create(path: &Path) -> BufWriter<File> {
    BufWriter::new(File::create(path).expect("writable"))
}

fn json_lines(path: &Path) {
    let mut file = create(path);
    for index in 0..COUNT {
        writeln!(file, "{}", json(index)).expect("writable");
    }
    file.flush().expect("writable");
}

fn json_array(path: &Path) {
    let mut file = create(path);
    for index in 0..COUNT {
        let before = if index == 0 { '[' } else { ',' };
        writeln!(file, "{before}{}", json(index)).expect("writable");
    }
    writeln!(file, "]").expect("writable");
    file.flush().expect("writable");
}

fn tar(path: &Path) {
    let mut archive = tar::Builder::new(create(path));
    for index in 0..COUNT {
        let text = json(index);
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        let name = format!("{index:07}.json");
        archive
            .append_data(&mut header, name, text.as_bytes())
            .expect("writable");
    }
    let mut file = archive.into_inner().expect("writable");
    file.flush().expect("writable");
}

/// All rows in groups of `rows`.
fn parquet(path: &Path, rows: u64) {
    let schema = parse_message_type("message rows { required binary prompt (UTF8); }");
    let schema = Arc::new(schema.expect("valid"));
    let properties = Arc::new(WriterProperties::default());
    let mut writer = SerializedFileWriter::new(create(path), schema, properties).expect("valid");
    for start in (0..COUNT).step_by(rows as usize) {
        let mut group = writer.next_row_group().expect("writable");
        let mut column = group.next_column().expect("writable").expect("a column");
        let end = (start + rows).min(COUNT);
        for start in (start..end).step_by(1000) {
            let values = (start..(start + 1000).min(end)).map(prompt);
            let values: Vec<_> = values
                .map(|text| ByteArray::from(text.into_bytes()))
                .collect();
            let column = column.typed::<ByteArrayType>();
            column.write_batch(&values, None, None).expect("writable");
        }
        column.close().expect("writable");
        group.close().expect("writable");
    }
    writer.close().expect("writable");
}

/// The most memory this process ever took, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    let kibibytes: u64 = number.expect("a figure").parse().expect("a number");
    kibibytes << 10
}

fn open(path: &Path) -> PromptSet {
    let source = Source::new(path, "prompt").expect("a known ending");
    PromptSet::read(&[source], &Options::default()).expect("valid")
}

/// What `rank` reads in `steps`.
fn read(set: &PromptSet, rank: u64, steps: std::ops::Range<u64>) -> Vec<String> {
    let order = set.order(7, BATCH, rank, RANKS);
    let batches = steps.map(|step| set.batch(&order, step).expect("readable"));
    batches.flatten().collect()
}

#[test]
fn a_million_prompts_take_little_memory_and_resume_in_the_middle() {
    let dir = tempfile::tempdir().expect("temp dir");
    let path = |name: &str| dir.path().join(name);
    let formats: [(PathBuf, MakeFile); 5] = [
        (path("a.jsonl"), json_lines),
        (path("a.json"), json_array),
        (path("a.tar"), tar),
        (path("groups.parquet"), |path| parquet(path, 100_000)),
        (path("one-group.parquet"), |path| parquet(path, COUNT)),
    ];
    let mut expected: Option<[Vec<String>; RANKS as usize]> = None;
    for (path, write) in formats {
        write(&path);
        let name = path.display();
        let grown = peak();
        assert!(
            grown < MAX_BYTES,
            "{name}: the test itself took {grown} bytes"
        );
        // The first job, from 0 on; one is enough, as all formats must agree with it.
        let expected = expected.get_or_insert_with(|| {
            let set = open(&path);
            [0, 1].map(|rank| {
                let mut all = read(&set, rank, 0..STEP + 4);
                all.split_off((STEP * BATCH) as usize)
            })
        });
        // The second job opens its file anew and goes on.
        let set = open(&path);
        assert_eq!(set.len() as u64, COUNT, "{name}");
        let found = set.get(123_456).expect("readable");
        assert_eq!(found, prompt(123_456), "{name}");
        for (rank, expected) in (0..).zip(expected.iter()) {
            let found = read(&set, rank, STEP..STEP + 4);
            assert_eq!(found, *expected, "{name}, rank {rank}");
        }
        let taken = peak();
        assert!(taken < MAX_BYTES, "{name}: {taken} bytes");
        fs::remove_file(&path).expect("there");
    }
    let [first, second] = expected.expect("read");
    assert!(first.iter().all(|prompt| !second.contains(prompt)));
    lost_marks(dir.path());
}

/// A quotation mark without its other half in the second row takes the rest of the file with it.
fn lost_marks(folder: &Path) {
    for (name, head, expected) in [
        (
            "a.csv",
            "id,prompt\n1,a cow\n2,\"two dogs\n",
            "a.csv` line 3: 129000012 bytes",
        ),
        (
            "a.json",
            "[{\"prompt\": \"a cow\"},\n{\"prompt: ",
            "after row 1: it is cut short",
        ),
    ] {
        let path = folder.join(name);
        let mut file = create(&path);
        write!(file, "{head}").expect("writable");
        for index in 0..COUNT {
            writeln!(file, "{index:07},{:0120}", 0).expect("writable");
        }
        file.flush().expect("writable");
        let source = Source::new(&path, "prompt").expect("a known ending");
        let error = PromptSet::read(&[source], &Options::default()).expect_err(name);
        assert!(error.to_string().contains(expected), "{error}");
        let taken = peak();
        assert!(taken < MAX_BYTES, "{name}: {taken} bytes");
    }
}
