//! Prompt sets from files of every format, good and bad.

mod files;
mod fuzz;
mod writers;

use std::fs;
use std::path::Path;

use dmdr_config::OnBadRow;
use dmdr_prompts::{Options, PromptSet, PromptsError, Source};
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
            files.write("a.json", format!("\u{FEFF} [{}]\n", lines.join(" ,\n"))),
            "prompt",
        ),
        (
            files.write("a.csv", format!("id,prompt\r\n{}\r\n", quoted.join("\r\n"))),
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
    let (error, row) = (error.to_string(), census.examples[0].to_string());
    assert!(
        error.starts_with(&row) && error.contains("on_bad_row"),
        "{error}"
    );
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
    let (good, escaped) = (json("a, \"]\" }"), json("\\"));
    let long = json(&long());
    let text = format!(
        "[{good}, [1],{{\"id\":{{\"a\":[1,2]}}}},{{\"prompt\":7}},,{escaped},\n{{\"prompt\" 1}},{long},{good}]"
    );
    expect_bad(
        &files.write("a.json", text),
        "prompt",
        &[
            "row 2: not a JSON object",
            "row 3: no column `prompt`",
            "row 4: column `prompt` is not text",
            "row 5: EOF while parsing",
            "row 7: expected `:`",
            "row 8: 1048",
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

/// After a lost quotation mark the rest of a file is one field. It is one bad row, read over without being held.
#[test]
fn a_lost_quotation_mark_is_named_where_it_is() {
    let files = Files::new();
    for end in ["\n", "\r\n"] {
        let rows =
            ["id,prompt", "1,good", "2,\"two, dogs", "3,good"].map(|row| format!("{row}{end}"));
        expect_bad(
            &files.write("a.csv", rows.concat()),
            "prompt",
            &["line 3: a quotation mark is not closed up to the end of the file"],
        );
        let rest = format!("3,good{end}").repeat(200_000);
        expect_bad(
            &files.write("b.csv", rows.concat() + &rest),
            "prompt",
            &["line 3: "],
        );
        let header = format!("id,\"prompt{end}{rest}");
        let error = read(&files.write("c.csv", header), "prompt", &skip());
        let error = error.expect_err("no header").to_string();
        assert!(error.contains("c.csv` line 1: "), "{error}");
    }
    let inches = files.write("d.csv", "id,prompt\n1,\"a\nb\"\n2,a 5\" pipe");
    let set = read(&inches, "prompt", &Options::default()).expect("valid");
    assert_eq!(all(&set), ["a\nb", "a 5\" pipe"]);
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
        (
            files.write("a.json", "\"a cow\"\n"),
            "after row 0: expected `[` or `{`",
        ),
        (
            files.write("b.json", "[{\"prompt\": \"a cow\"},\n{\"prompt"),
            "after row 1: it is cut short",
        ),
        (
            files.write("c.json", "[{\"prompt\": \"a cow\"}]]"),
            "after row 1: there is more",
        ),
        (
            files.write("d.json", " [ ]\n"),
            "no prompts are left: of 0 rows",
        ),
        (files.write("a.parquet", "PAR1"), "as Parquet"),
        (files.write("a.arrow", "not that"), "as Arrow"),
        (files.write("cut.feather", cut_file), "is cut short"),
        (files.write("cut.arrow", cut_stream), "as Arrow"),
        (files.write("cut.tar", cut), "cannot read"),
        (
            files.write("empty.jsonl", ""),
            "no prompts are left: of 0 rows 0 are bad",
        ),
        (
            files.write("bad.txt", "\n\n"),
            "no prompts are left: of 2 rows 2 are bad",
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

/// A byte that is wrong makes the Parquet library panic in places, which is an error like others.
#[test]
fn a_damaged_parquet_file_is_an_error_wherever_the_damage_is() {
    let files = Files::new();
    let path = files.parquet(
        "a.parquet",
        &[&[Some(b"a cow"), None], &[Some(b"two dogs")]],
    );
    let whole = fs::read(&path).expect("written");
    let mut num_panics = 0;
    for place in 0..whole.len() {
        for flip in [0x01, 0x06, 0x80] {
            let mut bytes = whole.clone();
            bytes[place] ^= flip;
            fs::write(&path, bytes).expect("writable");
            if let Err(error) = read(&path, "prompt", &skip()) {
                let error = error.to_string();
                let is_named = error.contains("a.parquet") || error.contains("no prompts");
                assert!(is_named, "{error}");
                num_panics += usize::from(error.contains("the file is damaged"));
            }
        }
    }
    assert!(num_panics > 0, "nothing needs to be caught any more");
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
    let told = "6 rows, 2 kept, 1 too short, 1 too long, 2 duplicates";
    assert_eq!(census.to_string(), told);
    let everything = PromptSet::read(&sources, &Options::default()).expect("valid");
    assert_eq!(everything.len(), 6);

    // A digest is of what is kept of its file: the second file keeps nothing here, and one prompt more changes the first.
    let [first, second] = [&set, &everything].map(|set| set.digests().to_vec());
    assert_eq!((first.len(), second.len()), (2, 2));
    assert!(first[0] != second[0] && first[1] != second[1]);
    fs::write(&sources[0].path, "A red cow\nдва коня\n").expect("writable");
    let edited = PromptSet::read(&sources, &options).expect("valid");
    assert!(edited.digests()[0] != first[0] && edited.digests()[1] == first[1]);
}

#[test]
fn prompts_of_the_evaluation_are_found_among_those_of_training() {
    let files = Files::new();
    let train = files.write("train.txt", "a cow\ntwo dogs\nA  Cat\n");
    let eval = files.write("eval.txt", "a cat\na horse\na cat\n");
    let [train, eval] = [train, eval].map(|path| read(&path, "", &skip()).expect("valid"));
    let common = |set: &PromptSet| -> Vec<_> {
        let found = set.overlap(&eval).expect("readable");
        found.collect::<Result<_, _>>().expect("readable")
    };
    let found = common(&train);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].index, found[0].other, found[0].prompt.as_str()),
        (2, 0, "A  Cat")
    );
    let other = read(&files.write("b.txt", "a\n"), "", &skip()).expect("valid");
    assert!(common(&other).is_empty());
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
