//! GenEval against an independent statement of its rules (`tools/peer/geneval.py`), and from files to scores.

use std::fs;
use std::path::Path;

use dmdr_benchmarks::geneval::{
    Color, Detection, ImageResult, Layout, Metadata, Rules, Summary, Tag, Verdict,
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Peer {
    classes: Vec<String>,
    prompts: Vec<Metadata>,
    reasons: Vec<String>,
}

/// Class, left, top, right, bottom, score / 100, colour.
type Row = (usize, f32, f32, f32, f32, f32, usize);

/// The ten colours by the peer's number.
fn color(place: usize) -> Color {
    let name = [
        "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white",
    ][place];
    serde_json::from_value(name.into()).expect("a colour")
}

#[test]
fn verdicts_and_reasons_are_the_peers_on_2000_random_sets() {
    let text = include_str!("fixtures/geneval.jsonl");
    let (head, cases) = text.split_once('\n').expect("a first line");
    let peer: Peer = serde_json::from_str(head).expect("valid prompts");
    let detection = |(class, left, top, right, bottom, score, place): Row| Detection {
        class: peer.classes[class].clone(),
        bounds: [left, top, right, bottom],
        score: score / 100.0,
        color: Some(color(place)),
        mask: None,
    };
    let mut count = 0;
    for (line, number) in cases.lines().zip(2..) {
        let (prompt, rows, reason): (usize, Vec<Row>, usize) =
            serde_json::from_str(line).expect("a case");
        let detections: Vec<Detection> = rows.into_iter().map(detection).collect();
        let verdict = Rules::default().verdict(&peer.prompts[prompt], &detections);
        let expected = Verdict {
            correct: reason == 0,
            reason: peer.reasons[reason].clone(),
        };
        assert_eq!(verdict, Ok(expected), "line {number}");
        count += 1;
    }
    assert_eq!(count, 2000);
}

#[test]
fn from_files_to_scores() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let write = |name: &str, lines: &[&str]| {
        let path = folder.path().join(name);
        fs::write(&path, lines.join("\n")).expect("written");
        path
    };
    let prompts = Metadata::read(write(
        "metadata.jsonl",
        &[
            r#"{"tag":"single_object","include":[{"class":"cow","count":1}],"prompt":"a photo of a cow"}"#,
            r#"{"tag":"colors","include":[{"class":"dog","count":1,"color":"red"}],"prompt":"a photo of a red dog"}"#,
        ],
    ))
    .expect("valid prompts");

    let layout = Layout::new(folder.path().join("images"));
    layout.prepare(&prompts).expect("folders are made");
    let read = Metadata::read(layout.metadata(1)).expect("one line");
    assert_eq!(read, prompts[1..]);
    assert!(
        layout
            .image(1, 3)
            .ends_with("images/00001/samples/0003.png")
    );
    assert!(layout.image(1, 3).parent().is_some_and(Path::is_dir));

    let mut lines = vec![
        r#"{"image":"00000/samples/0000.png","detections":[{"class":"cow","box":[1,2,3,4],"score":0.5}]}"#,
        r#"{"image":"00000/samples/0001.png","detections":[{"class":"cow","box":[1,2,3,4],"score":0.25}]}"#,
        r#"{"image":"00001/samples/0000.png","detections":[{"class":"dog","box":[1,2,3,4],"score":0.5,"color":"red"}]}"#,
    ];
    let rules = Rules::default();
    let detections = Detection::read(write("some.jsonl", &lines)).expect("valid detections");
    let error =
        ImageResult::judge_all(&prompts, 2, &detections, &rules).expect_err("one is missing");
    assert!(
        error.to_string().contains("`00001/samples/0001.png`"),
        "{error}"
    );

    lines.push(r#"{"image":"00001/samples/0001.png","detections":[]}"#);
    let detections = Detection::read(write("all.jsonl", &lines)).expect("valid detections");
    let results = ImageResult::judge_all(&prompts, 2, &detections, &rules).expect("complete");
    assert_eq!(results[0].details, r#"{"cow":[[1.0,2.0,3.0,4.0,0.5]]}"#);
    assert_eq!(results[1].details, "{}");
    assert_eq!(results[1].reason, "expected cow>=1, found 0");
    let summary = Summary::new(&results).expect("not empty");
    assert_eq!(
        (summary.overall, summary.images, summary.prompts),
        (0.5, 0.5, 1.0)
    );

    let colorless = lines[2].replace(r#","color":"red""#, "");
    lines[2] = &colorless;
    let detections = Detection::read(write("colorless.jsonl", &lines)).expect("valid detections");
    let error = ImageResult::judge_all(&prompts, 2, &detections, &rules).expect_err("no colour");
    assert!(
        error
            .to_string()
            .contains("`00001/samples/0000.png`: detection 1 of `dog`"),
        "{error}"
    );
}

/// The official file is not carried; where the project's shared data lies beside the checkout, all of it must parse.
#[test]
fn all_official_prompts_parse_where_they_are_at_hand() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/geneval/evaluation_metadata.jsonl");
    if !path.is_file() {
        return;
    }
    let prompts = Metadata::read(path).expect("the official prompts");
    let count = |tag| prompts.iter().filter(|prompt| prompt.tag == tag).count();
    let counts = [
        Tag::SingleObject,
        Tag::TwoObject,
        Tag::Counting,
        Tag::Colors,
        Tag::Position,
        Tag::ColorAttr,
    ]
    .map(count);
    assert_eq!(prompts.len(), 553);
    assert_eq!(counts, [80, 99, 80, 94, 100, 100]);
}
