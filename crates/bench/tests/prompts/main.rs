//! Prompt sets from files of every format, good and bad.

mod files;

use std::fs;
use std::path::Path;

use dmdr_bench::dpg::{Answers, Graph, Quirks};
use dmdr_bench::geneval::{Detection, Metadata};
use dmdr_bench::prompts::{OnBadRow, Options, PromptSet, PromptsError, Source};
use files::Files;
use proptest::prelude::*;

const PROMPTS: [&str; 3] = ["a red cow", "two dogs, and a \"cat\"", "кот на столе"];

fn read(path: &Path, column: &str, options: &Options) -> Result<PromptSet, PromptsError> {
    PromptSet::read(&[Source::new(path, column)?], options)
}

fn skip() -> Options {
    Options {
        on_bad_row: OnBadRow::Skip,
        ..Options::default()
    }
}

fn all(set: &PromptSet) -> Vec<String> {
    set.iter().collect::<Result<_, _>>().expect("readable")
}

fn json(prompt: &str) -> String {
    serde_json::json!({"id": 3, "prompt": prompt}).to_string()
}

#[test]
fn every_format_gives_the_same_prompts() {
    let files = Files::new();
    let lines: Vec<String> = PROMPTS.map(json).to_vec();
    let quoted = PROMPTS.map(|prompt| format!("7,\"{}\"", prompt.replace('"', "\"\"")));
    let tabbed = PROMPTS.map(|prompt| format!("{prompt}\tx"));
    let members: Vec<(String, &[u8])> = (0..3)
        .flat_map(|key| {
            let name = |ending| format!("{key:05}.{ending}");
            let image = &[0xFF, 0xD8][..];
            let text = PROMPTS[key].as_bytes();
            [
                (name("jpg"), image),
                (name("json"), lines[key].as_bytes()),
                (name("txt"), text),
            ]
        })
        .collect();
    let members: Vec<(&str, &[u8])> = members
        .iter()
        .map(|(name, bytes)| (name.as_str(), *bytes))
        .collect();
    let rows = PROMPTS.map(|prompt| Some(prompt.as_bytes()));
    let texts = PROMPTS.map(Some);
    for (path, column) in [
        (
            files.write("a.txt", format!("\u{FEFF}{}\r\n", PROMPTS.join("\r\n"))),
            "",
        ),
        (files.write("a.jsonl", lines.join("\n")), "prompt"),
        (
            files.write("a.csv", format!("id,prompt\n{}\n", quoted.join("\n"))),
            "prompt",
        ),
        (
            files.write("a.tsv", format!("Prompt\tid\n{}\n", tabbed.join("\n"))),
            "Prompt",
        ),
        (files.tar("a.tar", &members), "prompt"),
        (files.tar("b.tar", &members), "txt"),
        (
            files.parquet("a.parquet", &[&rows[..2], &rows[2..]]),
            "prompt",
        ),
        (
            files.arrow("a.arrow", &[&texts[..2], &texts[2..]]),
            "prompt",
        ),
        (
            files.arrow("a.feather", &[&texts[..1], &texts[1..]]),
            "prompt",
        ),
    ] {
        let set =
            read(&path, column, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(all(&set), PROMPTS, "{}", path.display());
        assert_eq!((set.census().rows, set.census().kept), (3, 3));
        assert_eq!(set.get(1).expect("readable"), PROMPTS[1]);
    }
}

/// All bad rows are in the census when skipped, and the first one is the error when fatal.
fn expect_bad(path: &Path, column: &str, expected: &[&str]) {
    let set = read(path, column, &skip()).unwrap_or_else(|error| panic!("{error}"));
    let census = set.census();
    assert_eq!(census.bad, expected.len() as u64, "{census:?}");
    assert_eq!(census.rows, census.kept + census.bad);
    assert_eq!(census.faults.values().sum::<u64>(), census.bad);
    for (row, expected) in census.examples.iter().zip(expected) {
        let start = format!("`{}` {expected}", path.display());
        assert!(row.to_string().starts_with(&start), "{row} is not {start}");
    }
    let error = read(path, column, &Options::default()).expect_err("the first is fatal");
    assert_eq!(error.to_string(), census.examples[0].to_string());
}

/// One byte more than any row may have.
fn long() -> String {
    "x".repeat((1 << 20) + 1)
}

#[test]
fn bad_lines_are_told_with_file_and_number_or_stop_the_reading() {
    let files = Files::new();
    let text = [b"good\nab\xFF\n\n", long().as_bytes(), b"\ngood"].concat();
    expect_bad(
        &files.write("a.txt", text),
        "",
        &[
            "line 2: not UTF-8 from byte 2 on",
            "line 3: empty",
            "line 4: 1048577 bytes, at most 1048576",
        ],
    );
    let good = json("good");
    let text = format!(
        "{good}\n[1]\n{{\"id\":1}}\n{{\"prompt\":7}}\n{{\"prompt\n{}\n",
        json(" ")
    );
    expect_bad(
        &files.write("a.jsonl", text),
        "prompt",
        &[
            "line 2: not a JSON object",
            "line 3: no column `prompt`",
            "line 4: column `prompt` is not text",
            "line 5: EOF while parsing",
            "line 6: empty",
        ],
    );
    let text = b"id,prompt\n1,good\n1,two, dogs\n1,\xFF\n1,\"good\nas well\"\n1,\n";
    expect_bad(
        &files.write("a.csv", text),
        "prompt",
        &[
            "line 3: 3 fields, the header has 2",
            "line 4: not UTF-8 from byte 0 on",
            "line 7: empty",
        ],
    );
}

#[test]
fn bad_members_and_rows_are_told_too() {
    let files = Files::new();
    let (good, long) = (json("good"), long());
    let members: [(&str, &[u8]); 3] = [
        ("a.json", good.as_bytes()),
        ("b.json", b"{}"),
        ("c.json", b"\xFF"),
    ];
    expect_bad(
        &files.tar("a.tar", &members),
        "prompt",
        &[
            "member `b.json`: no column `prompt`",
            "member `c.json`: not UTF-8",
        ],
    );
    let groups: [&[Option<&[u8]>]; 2] = [
        &[None, Some(b"good")],
        &[Some(b"\xFF"), Some(long.as_bytes()), None],
    ];
    expect_bad(
        &files.parquet("a.parquet", &groups),
        "prompt",
        &[
            "row 1: no column `prompt`",
            "row 3: not UTF-8",
            "row 4: 1048577 bytes",
            "row 5: no column `prompt`",
        ],
    );
    let batches: [&[Option<&str>]; 2] = [&[None, Some("good")], &[Some(" "), Some(&long)]];
    for name in ["a.arrow", "a.feather"] {
        expect_bad(
            &files.arrow(name, &batches),
            "prompt",
            &[
                "row 1: no column `prompt`",
                "row 3: empty",
                "row 4: 1048577 bytes",
            ],
        );
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let files = Files::new();
    let short = files.tar("short.tar", &[("a.txt", b"good")]);
    let cut = fs::read(&short).expect("readable")[..514].to_vec();
    let [cut_file, cut_stream] = ["b.feather", "b.arrow"].map(|name| {
        let path = files.arrow(name, &[&[Some("good")]]);
        let bytes = fs::read(&path).expect("readable");
        bytes[..bytes.len() - 100].to_vec()
    });
    for (path, expected) in [
        (files.0.path().join("none.txt"), "cannot open"),
        (files.write("a.xls", ""), "cannot tell the format"),
        (
            files.write("a.csv", "id,Prompt\n"),
            "has no column `prompt`; it has id, Prompt",
        ),
        (files.write("a.parquet", "PAR1"), "as Parquet"),
        (files.write("a.arrow", "not that"), "as Arrow"),
        (files.write("cut.feather", cut_file), "is cut short"),
        (files.write("cut.arrow", cut_stream), "as Arrow"),
        (files.write("cut.tar", cut), "cannot read"),
        (
            files.write("empty.jsonl", ""),
            "no prompts: of 0 rows 0 are bad",
        ),
        (
            files.write("bad.txt", "\n\n"),
            "no prompts: of 2 rows 2 are bad",
        ),
    ] {
        let column = if path.ends_with("cut.tar") {
            "txt"
        } else {
            "prompt"
        };
        let error = read(&path, column, &skip())
            .expect_err(expected)
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    let text = files.parquet("b.parquet", &[&[Some(b"good")]]);
    let error = read(&text, "Prompt", &skip())
        .expect_err("another name")
        .to_string();
    assert!(
        error.contains("has no column `Prompt`; it has url, prompt"),
        "{error}"
    );
}

#[test]
fn lengths_and_duplicates_are_filtered_and_counted() {
    let files = Files::new();
    let first = files.write("a.txt", "A red cow\na\nдва кота\na  red COW \n");
    let second = files.write("b.txt", "a red cow\na very long prompt\n");
    let sources = [first, second].map(|path| Source::new(path, "").expect("known"));
    let options = Options {
        min_chars: 2,
        max_chars: 12,
        deduplicate: true,
        spool: Some(files.0.path().to_owned()),
        ..Options::default()
    };
    let set = PromptSet::read(&sources, &options).expect("valid");
    assert_eq!(all(&set), ["A red cow", "два кота"]);
    let census = set.census();
    assert_eq!((census.rows, census.kept, census.short), (6, 2, 1));
    assert_eq!((census.long, census.duplicates), (1, 2));
    let everything = PromptSet::read(&sources, &Options::default()).expect("valid");
    assert_eq!(everything.len(), 6);
}

#[test]
fn prompts_of_the_evaluation_are_found_among_those_of_training() {
    let files = Files::new();
    let train = files.write("train.txt", "a cow\ntwo dogs\nA  Cat\n");
    let eval = files.write("eval.txt", "a cat\na horse\na cat\n");
    let [train, eval] = [train, eval].map(|path| read(&path, "", &skip()).expect("valid"));
    let found = train.overlap(&eval).expect("readable");
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].index, found[0].other, found[0].prompt.as_str()),
        (2, 0, "A  Cat")
    );
    assert!(
        read(&files.write("b.txt", "a\n"), "", &skip())
            .expect("valid")
            .overlap(&eval)
            .expect("readable")
            .is_empty()
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What a job reads that runs from 0 is what jobs read that start anywhere; all ranks of an epoch read each prompt once.
    #[test]
    fn resuming_and_ranks_change_nothing(
        len in 1usize..60, batch in 1u64..5, ranks in 1u64..4, start in 0u64..40, seed in any::<u64>(),
    ) {
        let files = Files::new();
        let prompts: Vec<String> = (0..len).map(|number| format!("prompt {number}")).collect();
        let set = read(&files.write("a.txt", prompts.join("\n")), "", &skip()).expect("valid");
        let job = |rank, from: u64, to: u64| -> Vec<String> {
            let order = set.order(seed, batch, rank, ranks);
            (from..to).flat_map(|step| set.batch(&order, step).expect("readable")).collect()
        };
        for rank in 0..ranks {
            let whole = job(rank, 0, start + 3);
            prop_assert_eq!(&whole[(start * batch) as usize..], &job(rank, start, start + 3)[..]);
        }
        // One epoch in steps of exactly its length: every prompt once.
        let order = |rank| set.order(seed, len as u64, rank, ranks);
        let mut read: Vec<String> = (0..ranks).flat_map(|rank| set.batch(&order(rank), start).expect("readable")).collect();
        read.sort();
        let mut expected: Vec<String> = (0..ranks).flat_map(|_| prompts.clone()).collect();
        expected.sort();
        prop_assert_eq!(read, expected);
    }
}

/// Published sets are not carried; where the project's shared data lies beside the checkout, they must read in full.
#[test]
fn published_sets_read_in_full_where_they_are_at_hand() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    for (name, column, rows) in [
        ("parti/PartiPrompts.tsv", "Prompt", 1632),
        ("dpg_bench/prompts.jsonl", "prompt", 1065),
        ("geneval/evaluation_metadata.jsonl", "prompt", 553),
    ] {
        let path = folder.join(name);
        if path.is_file() {
            let set =
                read(&path, column, &Options::default()).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(set.len(), rows, "{name}");
        }
    }
}

/// A place of a file, what happens there, and with which byte.
type Damage = (prop::sample::Index, u8, u8);

fn damaged(bytes: &[u8], damages: &[Damage]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, what, byte) in damages {
        let place = place.index(bytes.len() + 1);
        match what {
            0 => bytes.truncate(place),
            1 => bytes.insert(place, *byte),
            2 if place < bytes.len() => bytes[place] ^= *byte,
            3 => drop(bytes.drain(place..(place + usize::from(*byte)).min(bytes.len()))),
            _ => {
                let end = (place + usize::from(*byte)).min(bytes.len());
                let copy = bytes[place..end].to_vec();
                bytes.splice(place..place, copy);
            }
        }
    }
    bytes
}

proptest! {
    /// Every reader of this crate gives what is left or one error that names the file. `PROPTEST_CASES` says how often.
    #[test]
    fn damaged_files_are_read_or_refused(
        reader in 0..12,
        damages in prop::collection::vec((any::<prop::sample::Index>(), 0..5_u8, any::<u8>()), 1..6),
    ) {
        let files = Files::new();
        let path = match reader {
            0 => files.write("a.txt", PROMPTS.join("\n")),
            1 => files.write("a.jsonl", "{\"prompt\": \"a cow\"}\n{\"prompt\": \"кот\"}\n"),
            2 => files.write("a.csv", "id,prompt\n1,a cow\n2,\"two, dogs\"\n"),
            3 => files.write("a.tsv", "id\tprompt\n1\ta cow\n2\ttwo dogs\n"),
            4 => files.parquet("a.parquet", &[&[Some(b"a cow"), None], &[Some(b"two dogs")]]),
            5 => files.tar("a.tar", &[("1.json", b"{\"prompt\": \"a cow\"}"), ("1.jpg", b"..")]),
            6 => files.write("a.jsonl", "{\"tag\": \"colors\", \"include\": [{\"class\": \"cow\", \"count\": 1, \
                \"color\": \"red\"}], \"prompt\": \"a red cow\"}\n"),
            7 => files.write("a.jsonl", "{\"image\": \"0/1.png\", \"detections\": [{\"class\": \"cow\", \
                \"box\": [0, 1, 8.5, 9], \"score\": 0.9}]}\n"),
            8 => files.write("a.csv", "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,\
                tuple,question_natural_language\na,a cow,,1,0,e,w,entity - whole (cow),Is there a cow?\n\
                a,a cow,,2,1,e,w,entity - whole (cow),Is it red?\n"),
            9 => files.arrow("a.arrow", &[&[Some("a cow"), None], &[Some("two dogs")]]),
            10 => files.arrow("a.feather", &[&[Some("a cow"), None], &[Some("two dogs")]]),
            _ => files.write("a.jsonl", "{\"item\": \"a\", \"image\": 0, \"answers\": {\"1\": \"yes\", \"2\": \"no\"}}\n"),
        };
        let bytes = fs::read(&path).expect("written");
        fs::write(&path, damaged(&bytes, &damages)).expect("writable");
        let outcome = match reader {
            0..=5 | 9 | 10 => {
                let source = Source::new(&path, "prompt").expect("a known ending");
                let set = PromptSet::read(&[source], &Options::default());
                set.map(drop).map_err(|error| error.to_string())
            }
            6 => Metadata::read(&path).map(drop).map_err(|error| error.to_string()),
            7 => Detection::read(&path).map(drop).map_err(|error| error.to_string()),
            8 => Graph::read(&path, Quirks::NONE).map(drop).map_err(|error| error.to_string()),
            _ => Answers::read(&path).map(drop).map_err(|error| error.to_string()),
        };
        // What is wrong with a whole set or graph names no file: no prompts, an item without its questions.
        if let Err(error) = outcome {
            let names = error.contains("a.") || error.contains("no prompt") || error.contains("item `");
            prop_assert!(names, "{error}");
        }
    }
}
