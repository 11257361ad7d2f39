//! Every reader of this crate on files that are damaged at random: it gives what is left or one error that names the file,
//! and never panics. `DMDR_FUZZ_SECONDS` says for how long (two seconds by default).

use std::time::{Duration, Instant};
use std::{env, fs};

use dmdr_benchmarks::dpg::{Answers, Graph, Quirks};
use dmdr_benchmarks::geneval::{Detection, Metadata};
use dmdr_prompts::{Options, PromptSet, Source};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::PROMPTS;
use crate::files::Files;
use crate::writers::fixture;

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

#[test]
fn damaged_files_are_read_or_refused() {
    let seconds = env::var("DMDR_FUZZ_SECONDS").map_or(2, |text| text.parse().expect("seconds"));
    let end = Instant::now() + Duration::from_secs(seconds);
    let damage = (any::<prop::sample::Index>(), 0..5_u8, any::<u8>());
    let case = (0..17, prop::collection::vec(damage, 1..6));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 64,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    while Instant::now() < end {
        let outcome = runner.run(&case, |(reader, damages)| {
            is_read_or_refused(reader, &damages)
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
    }
}

fn is_read_or_refused(reader: i32, damages: &[Damage]) -> Result<(), TestCaseError> {
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
        10 => files.write("a.json", "[{\"prompt\": \"a cow\"}, {\"prompt\": \"кот\", \"n\": [1]}]\n"),
        11 => files.arrow("a.feather", &[&[Some("a cow"), None], &[Some("two dogs")]]),
        13 => files.write("a.parquet", fs::read(fixture("duckdb-zstd.parquet")).expect("there")),
        14 => files.write("a.parquet", fs::read(fixture("duckdb-brotli.parquet")).expect("there")),
        15 => files.write("a.feather", fs::read(fixture("pandas-categories.feather")).expect("there")),
        16 => files.write("a.jsonl.zst", fs::read(fixture("polars.ndjson.zst")).expect("there")),
        _ => files.write("a.jsonl", "{\"item\": \"a\", \"image\": 0, \"answers\": {\"1\": \"yes\", \"2\": \"no\"}}\n"),
    };
    let bytes = fs::read(&path).expect("written");
    fs::write(&path, damaged(&bytes, damages)).expect("writable");
    let outcome = match reader {
        0..=5 | 9..=11 | 13..=16 => {
            let source = Source::new(&path, "prompt").expect("a known ending");
            let set = PromptSet::read(&[source], &Options::default());
            set.map(drop).map_err(|error| error.to_string())
        }
        6 => Metadata::read(&path)
            .map(drop)
            .map_err(|error| error.to_string()),
        7 => Detection::read(&path)
            .map(drop)
            .map_err(|error| error.to_string()),
        8 => Graph::read(&path, Quirks::NONE)
            .map(drop)
            .map_err(|error| error.to_string()),
        _ => Answers::read(&path)
            .map(drop)
            .map_err(|error| error.to_string()),
    };
    // What is wrong with a whole set or graph names no file: no prompts, an item without its questions.
    if let Err(error) = outcome {
        let names = error.contains("a.") || error.contains("no prompt") || error.contains("item `");
        prop_assert!(names, "{error}");
    }
    Ok(())
}
