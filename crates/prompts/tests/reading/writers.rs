//! Files as other programs write them by default: `tests/fixtures/make.py` says how each was made.

use std::fs;
use std::path::{Path, PathBuf};

use dmdr_prompts::Options;

use crate::files::Files;
use crate::{PROMPTS, all, read, skip};

/// What the files hold.
const WRITTEN: [&str; 3] = ["a red cow", "two dogs", "кот на столе"];

pub(crate) fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    folder.join(name)
}

#[test]
fn files_of_other_writers_are_read() {
    for (name, column) in [
        ("polars.parquet", "prompt"),
        ("polars.feather", "prompt"),
        ("polars-categories.ipc", "prompt"),
        ("polars-nested.parquet", "row.caption"),
        ("polars.ndjson.zst", "prompt"),
        ("pandas.feather", "prompt"),
        ("pandas-categories.feather", "prompt"),
        ("pandas.csv.gz", "prompt"),
        ("excel.csv", "prompt"),
        ("nested.feather", "row.caption"),
        ("duckdb-uncompressed.parquet", "prompt"),
        ("duckdb-snappy.parquet", "prompt"),
        ("duckdb-gzip.parquet", "prompt"),
        ("duckdb-zstd.parquet", "prompt"),
        ("duckdb-lz4.parquet", "prompt"),
        ("duckdb-lz4_raw.parquet", "prompt"),
        ("duckdb-brotli.parquet", "prompt"),
        ("duckdb.json", "prompt"),
    ] {
        let set = read(&fixture(name), column, &Options::default());
        let set = set.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(all(&set), WRITTEN, "{name}");
    }
}

#[test]
fn columns_that_are_no_text_are_refused_by_name() {
    for (name, column, expected) in [
        ("nested.feather", "tags", "column `tags` of"),
        (
            "nested.feather",
            "tags",
            "is a list, not text; its text columns are row.caption",
        ),
        (
            "nested.feather",
            "row",
            "is a structure, not text; its text columns are row.caption",
        ),
        (
            "polars-nested.parquet",
            "tags",
            "is a list, not text; its text columns are row.caption",
        ),
        (
            "polars-nested.parquet",
            "row",
            "is a structure, not text; its text columns are row.caption",
        ),
        (
            "duckdb-json.parquet",
            "prompt",
            "is Json, not text; its text columns are none",
        ),
        (
            "polars.feather",
            "Prompt",
            "has no column `Prompt`; it has prompt",
        ),
        ("version-1.feather", "prompt", "it is Feather version 1"),
        ("utf-16.csv", "prompt", "is UTF-16 text; save it as UTF-8"),
    ] {
        let error = read(&fixture(name), column, &skip()).expect_err(expected);
        let error = error.to_string();
        assert!(error.contains(expected) && error.contains(name), "{error}");
    }
}

#[test]
fn names_may_be_in_capitals_and_content_may_be_packed() {
    let files = Files::new();
    let lines = WRITTEN.map(|prompt| format!("{{\"prompt\": \"{prompt}\"}}\n"));
    let zstd = |text: &str| zstd::encode_all(text.as_bytes(), 0).expect("packed");
    let jsonl = lines.concat();
    let array = format!("[{}]", lines.join(","));
    let tar = files.tar(
        "a.tar",
        &[("0.TXT", WRITTEN[0].as_bytes()), ("._1.txt", b"\0\x05")],
    );
    let tar = fs::read(tar).expect("written");
    let members = files.write("A.TAR.ZST", zstd::encode_all(&tar[..], 0).expect("packed"));
    assert_eq!(
        all(&read(&members, "txt", &Options::default()).expect("valid")),
        [WRITTEN[0]]
    );
    let parquet = fs::read(fixture("duckdb-zstd.parquet")).expect("there");
    for (path, column) in [
        (files.write("A.TXT", WRITTEN.join("\n")), ""),
        (files.write("A.TXT.ZST", zstd(&WRITTEN.join("\r"))), ""),
        // A download may be unpacked on its way, and a name may say nothing.
        (files.write("a.txt.gz", WRITTEN.join("\n")), ""),
        (files.write("packed.txt", zstd(&WRITTEN.join("\n"))), ""),
        (files.write("A.JSONL", &jsonl), "prompt"),
        (files.write("a.jsonl.zst", zstd(&jsonl)), "prompt"),
        (files.write("a.json.zst", zstd(&array)), "prompt"),
        (
            files.write("lines.json", format!("\u{FEFF} {jsonl}")),
            "prompt",
        ),
        (files.write("A.PARQUET", &parquet), "prompt"),
    ] {
        let set = read(&path, column, &Options::default());
        let set = set.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(all(&set), WRITTEN, "{}", path.display());
    }
    let packed = files.write("b.parquet.gz", &parquet);
    let error = read(&packed, "prompt", &skip()).expect_err("packed twice");
    assert!(
        error.to_string().contains("cannot tell the format"),
        "{error}"
    );
}

#[test]
fn line_ends_of_any_system_give_the_same_rows() {
    let files = Files::new();
    for end in ["\n", "\r\n", "\r"] {
        let table = |separator: char| {
            let rows = PROMPTS.map(|prompt| match separator {
                ',' => format!("1,\"{}\"", prompt.replace('"', "\"\"")),
                _ => format!("1{separator}{prompt}"),
            });
            format!("id{separator}prompt{end}{}{end}", rows.join(end))
        };
        let json = PROMPTS.map(|prompt| serde_json::json!({ "prompt": prompt }).to_string());
        let text = PROMPTS.map(|prompt| format!("{prompt} \t"));
        for (path, column) in [
            (files.write("a.txt", text.join(end)), ""),
            (files.write("b.txt", format!("{}{end}", text.join(end))), ""),
            (files.write("a.jsonl", json.join(end)), "prompt"),
            (files.write("a.csv", table(',')), "prompt"),
            (files.write("a.tsv", table('\t')), "prompt"),
        ] {
            let set = read(&path, column, &Options::default());
            let set = set.unwrap_or_else(|error| panic!("{end:?} {error}"));
            assert_eq!(all(&set), PROMPTS, "{end:?} {}", path.display());
        }
        // Numbers of lines in messages count each end once.
        let bad = files.write(
            "bad.csv",
            format!("id,prompt{end}1,\"a{end}b\"{end}{end}1,{end}"),
        );
        let error = read(&bad, "prompt", &Options::default()).expect_err("empty");
        assert!(
            error.to_string().contains("line 5: empty;"),
            "{end:?} {error}"
        );
    }
    // Two files with a byte order mark, joined; characters that only some standards call line ends.
    let joined = files.write("joined.txt", "\u{FEFF}a\u{2028}b\n\u{FEFF}c\u{85}d\x0Be\n");
    let set = read(&joined, "", &Options::default()).expect("valid");
    assert_eq!(all(&set), ["a\u{2028}b", "c\u{85}d\x0Be"]);
}

/// UTF-16 without a mark, and a NUL that is spelt out: of such a row nothing is kept, whatever becomes of bad rows.
#[test]
fn a_prompt_never_holds_a_nul_and_is_seen() {
    let files = Files::new();
    let wide = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let parquet: [Option<&[u8]>; 3] = [Some(b"\0"), Some(b"a\0b"), Some(b"good")];
    let arrow = [Some("\0"), Some("a\0b"), Some("good")];
    for (path, column, num_nul) in [
        (files.write("a.txt", wide("a cat\ngood\n")), "", 3),
        (files.write("b.txt", "\0\na\0b\ngood\n"), "", 2),
        (
            files.write(
                "a.jsonl",
                "{\"p\":\"\\u0000\"}\n{\"p\":\"a\\u0000b\"}\n{\"p\":\"good\"}\n",
            ),
            "p",
            2,
        ),
        (files.write("a.csv", "id,p\n1,\0\n2,a\0b\n3,good\n"), "p", 2),
        (
            files.tar(
                "a.tar",
                &[("a.txt", b"\0"), ("b.txt", b"a\0b"), ("c.txt", b"good")],
            ),
            "txt",
            2,
        ),
        (files.parquet("a.parquet", &[&parquet]), "prompt", 2),
        (files.arrow("a.feather", &[&arrow]), "prompt", 2),
    ] {
        let error = read(&path, column, &Options::default()).expect_err("a NUL is no prompt");
        let expected = "holds a NUL; is the file UTF-16? Save it as UTF-8";
        assert!(error.to_string().contains(expected), "{error}");
        match read(&path, column, &skip()) {
            Ok(set) => {
                assert_eq!(all(&set), ["good"]);
                assert_eq!(set.census().faults["NUL"], num_nul, "{}", path.display());
            }
            Err(error) => {
                let expected = format!("no prompts are left: of {num_nul} rows {num_nul} are bad");
                let error = error.to_string();
                assert!(
                    error.starts_with(&expected) && error.contains("holds a NUL"),
                    "{error}"
                );
            }
        }
    }
    // The end of file of DOS, a mark alone, characters without width: nothing to draw.
    let unseen = files.write("c.txt", "good\n\u{FEFF}\u{FEFF}\n\u{200B}\n\x1B\n\x1A");
    let set = read(&unseen, "", &skip()).expect("valid");
    assert_eq!(
        (all(&set), set.census().faults["empty"]),
        (vec!["good".to_owned()], 4)
    );
    // Other control characters are the caption's own.
    let kept = files.write("d.txt", "a\x08 cow\x7F\n");
    assert_eq!(
        all(&read(&kept, "", &skip()).expect("valid")),
        ["a\x08 cow\x7F"]
    );
}
