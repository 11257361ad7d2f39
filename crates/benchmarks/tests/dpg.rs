//! DPG-Bench against an independent statement of its scores (`tools/peer/dpg.py`), and from files to scores.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use dmdr_benchmarks::dpg::{Answers, DpgError, Graph, ImageAnswers, Quirks, Scores, read_prompts};

const HEADER: &str = "item_id,text,keywords,proposition_id,dependency,category_broad,\
    category_detailed,tuple,question_natural_language\n";
const CATEGORIES: [&str; 4] = [
    "entity - whole",
    "entity - part",
    "attribute - color",
    "relation - spatial",
];

/// Questions as [number, category, parent, ...], images as a letter a question.
type PeerItem = (Vec<Vec<i64>>, Vec<String>);
/// Overall, number of items, entity, attribute, relation; in millionths.
type PeerScores = Option<[i64; 5]>;

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary folder"))
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }

    fn scores(&self, csv: &str, answers: &Answers, quirks: Quirks) -> Result<Scores, DpgError> {
        Graph::read(self.write("questions.csv", csv), quirks)?.score(answers)
    }
}

/// The peer's items as the official table and a model's answers.
fn parts(items: &[PeerItem]) -> (String, Answers) {
    let mut csv = HEADER.to_owned();
    let mut answers = Answers::default();
    for (place, (rows, images)) in items.iter().enumerate() {
        let mut order: Vec<i64> = Vec::new();
        for row in rows {
            let (number, category) = (row[0], CATEGORIES[row[1] as usize]);
            let parents: Vec<String> = row[2..].iter().map(i64::to_string).collect();
            let parents = parents.join(", ");
            writeln!(
                csv,
                "item{place},text,,{number},\"{parents}\",,,\"{category} (a, b)\",q"
            )
            .expect("text takes text");
            if !order.contains(&number) {
                order.push(number);
            }
        }
        let answer = |(number, letter)| {
            let answer = if letter == 'y' { "yes" } else { "no" };
            (number, answer.to_owned())
        };
        let images = images.iter().map(|image| {
            let numbers = order.iter().copied();
            numbers
                .zip(image.chars())
                .map(answer)
                .collect::<ImageAnswers>()
        });
        answers
            .items
            .insert(format!("item{place}"), images.collect());
    }
    (csv, answers)
}

fn assert_same(scores: Result<Scores, DpgError>, expected: PeerScores, line: &str) {
    let Some([overall, num_items, broad @ ..]) = expected else {
        scores.expect_err(line);
        return;
    };
    let scores = scores.unwrap_or_else(|error| panic!("{error}: {line}"));
    assert_eq!(scores.num_items as i64, num_items, "{line}");
    let near = |found: f64, expected: i64| (found * 1e6 - expected as f64).abs() < 1.0;
    assert!(near(scores.overall, overall), "{scores:?} {line}");
    for (name, expected) in ["entity", "attribute", "relation"].into_iter().zip(broad) {
        match scores.broad.get(name) {
            Some(&share) => assert!(near(share, expected), "{scores:?} {line}"),
            None => assert_eq!(expected, -1, "{name} {line}"),
        }
    }
}

#[test]
fn scores_are_the_peers_on_2000_random_benchmarks() {
    let files = Files::new();
    let mut count = 0;
    for line in include_str!("fixtures/dpg.jsonl").lines() {
        let (items, official, meant): (Vec<PeerItem>, PeerScores, PeerScores) =
            serde_json::from_str(line).expect("a case");
        let (csv, answers) = parts(&items);
        assert_same(
            files.scores(&csv, &answers, Quirks::OFFICIAL),
            official,
            line,
        );
        assert_same(files.scores(&csv, &answers, Quirks::NONE), meant, line);
        count += 1;
    }
    assert_eq!(count, 2000);
}

#[test]
fn each_quirk_is_a_switch() {
    let files = Files::new();
    // Two items; of the second the question in front depends on one behind it, which depends on a no.
    let rows = [
        "a,text,,1,0,,,entity - whole (x),q",
        "a,text,,2,1,,,entity - whole (x),q",
        "b,text,,3,2,,,relation - spatial (x),q",
        "b,text,,1,0,,,entity - whole (x),q",
        "b,text,,2,1,,,attribute - color (x),q",
    ];
    let csv = format!("{HEADER}{}\n", rows.join("\n"));
    let answers = Answers::read(files.write(
        "answers.jsonl",
        concat!(
            r#"{"item":"b","image":1,"answers":{"1":"no","2":"yes","3":"yes"}}"#,
            "\n",
            r#"{"item":"b","image":0,"answers":{"1":"yes","2":"yes","3":"yes"}}"#,
            "\n",
            r#"{"item":"a","image":0,"answers":{"1":"yes","2":"Yes"}}"#,
            "\n",
        ),
    ))
    .expect("valid answers");
    let score = |change: fn(&mut Quirks)| {
        let mut quirks = Quirks::NONE;
        change(&mut quirks);
        files.scores(&csv, &answers, quirks)
    };
    let near =
        |found: f64, expected: f64| assert!((found - expected).abs() < 1e-9, "{found} {expected}");

    // a: 1/2, since `Yes` is not `yes`; b: mean of 3/3 and 0/3.
    let meant = score(|_| {}).expect("valid");
    near(meant.overall, 0.5);
    near(meant.broad["entity"], 2.0 / 4.0);
    near(meant.broad["relation"], 1.0);
    assert_eq!(meant.detailed.len(), 3);

    // The question in front has been passed when its parent turns to no.
    let by_file = score(|quirks| quirks.cascade = Quirks::OFFICIAL.cascade).expect("valid");
    near(
        by_file.overall,
        f64::midpoint(0.5, f64::midpoint(1.0, 1.0 / 3.0)),
    );

    let last = score(|quirks| quirks.last_image_categories = true).expect("valid");
    near(last.broad["entity"], 1.0 / 3.0);
    near(last.overall, meant.overall);

    let error = score(|quirks| quirks.first_row_lost = true).expect_err("a parent is lost");
    assert!(
        error
            .to_string()
            .contains("item `a`: question 2 depends on question 1"),
        "{error}"
    );
    let official = files
        .scores(&csv, &answers, Quirks::OFFICIAL)
        .expect("an item is left");
    assert_eq!(
        (official.num_items, official.left_out),
        (1, vec!["a".to_owned()])
    );
    near(official.overall, f64::midpoint(1.0, 1.0 / 3.0));
}

#[test]
fn metrics_have_a_value_an_image_where_items_have_as_many() {
    let files = Files::new();
    let rows = "a,text,,1,0,,,entity - whole (x),q\nb,text,,1,0,,,entity - whole (x),q\nb,text,,2,1,,,relation - spatial (x),q";
    let csv = files.write("questions.csv", &format!("{HEADER}{rows}\n"));
    let image = |answers: &[(i64, &str)]| {
        let answers = answers.iter().map(|&(id, answer)| (id, answer.to_owned()));
        answers.collect()
    };
    let of_a = vec![image(&[(1, "yes")]), image(&[(1, "yes")])];
    let of_b = vec![
        image(&[(1, "yes"), (2, "no")]),
        image(&[(1, "no"), (2, "yes")]),
    ];
    let mut answers = Answers {
        items: [("a".to_owned(), of_a), ("b".to_owned(), of_b)].into(),
    };
    let metrics = |answers: &Answers, last_image_categories| {
        let quirks = Quirks {
            last_image_categories,
            ..Quirks::NONE
        };
        let graph = Graph::read(&csv, quirks).expect("valid");
        let scores = graph.score(answers).expect("valid");
        let metrics = graph.metrics(answers, &scores).expect("valid");
        assert_eq!(
            metrics["dpg/overall"].mean.to_bits(),
            scores.overall.to_bits()
        );
        metrics
            .into_iter()
            .map(|(name, metric)| (name, metric.per_seed))
    };
    let expected = |entity: &[f64], overall: &[f64], relation: &[f64]| {
        [
            ("dpg/entity", entity),
            ("dpg/overall", overall),
            ("dpg/relation", relation),
        ]
        .map(|(name, values)| (name.to_owned(), values.to_vec()))
    };
    let each = metrics(&answers, false);
    assert!(each.eq(expected(&[1.0, 0.5], &[0.75, 0.5], &[0.0, 1.0])));
    // Categories of the last image alone are no mean over images.
    let last = metrics(&answers, true);
    assert!(last.eq(expected(&[0.5], &[0.75, 0.5], &[1.0])));
    answers.items.get_mut("a").expect("there").truncate(1);
    let fewer = metrics(&answers, false);
    assert!(fewer.eq(expected(&[2.0 / 3.0], &[0.625], &[0.5])));
}

#[test]
fn quoted_fields_over_several_lines_are_read() {
    let files = Files::new();
    let row = "whoops1,\"A \"\"red\"\" cow,\nand a dog\",,2,\"1, 3\",attribute,color,\"attribute - color (cow, red)\",\"Is the cow, if any, red?\"\n";
    let first = "whoops1,x,,1,0,entity,whole,entity - whole (cow),Is there a cow?\n";
    let third = "whoops1,x,,3,0,global,,global - (photo),Is it a photo?\n";
    let path = files.write("questions.csv", &format!("{HEADER}{first}{row}{third}"));
    let graph = Graph::read(path, Quirks::NONE).expect("valid");
    let [item] = &graph.items[..] else {
        panic!("{graph:?}")
    };
    assert_eq!(item.questions[1].parents, [1, 3]);
    assert_eq!(item.questions[1].text, "Is the cow, if any, red?");
    assert_eq!(item.questions[1].category, "attribute - color");
    assert_eq!(item.questions[1].broad_category(), "attribute");
    assert_eq!(item.questions[2].broad_category(), "global");

    let path = files.write("questions.csv", &format!("{HEADER}{row}{first}{third}"));
    let graph = Graph::read(path, Quirks::NONE).expect("valid");
    assert_eq!(graph.items[0].prompt, "A \"red\" cow,\nand a dog");
}

/// Byte order marks, line ends of other systems and files that Macs add change nothing.
#[test]
fn files_from_other_systems_say_the_same() {
    let row = |id: i64| format!("a,a cow,,{id},0,,,entity - whole (x),Is it {id}?");
    let answer =
        |image: usize| format!(r#"{{"item":"a","image":{image},"answers":{{"1":"yes"}}}}"#);
    let files = Files::new();
    let read = |end: &str, mark: &str| {
        let csv = format!("{mark}{}{end}{}{end}{}{end}", HEADER.trim(), row(1), row(2));
        let graph = Graph::read(files.write("a.csv", &csv), Quirks::NONE).expect("valid");
        let lines = format!("{mark}{}{end}{mark}{}", answer(0), answer(1));
        let answers = Answers::read(files.write("a.jsonl", &lines)).expect("valid");
        (graph, answers)
    };
    let expected = read("\n", "");
    assert_eq!(
        (
            expected.0.items[0].questions.len(),
            expected.1.items["a"].len()
        ),
        (2, 2)
    );
    for (end, mark) in [("\r\n", "\u{FEFF}"), ("\r", ""), ("\r", "\u{FEFF}")] {
        assert_eq!(read(end, mark), expected, "{end:?}");
    }
    files.write("one.TXT", "\u{FEFF}a cow\r\n");
    files.write("._one.TXT", "\0\u{5}\u{16}\u{7}");
    let prompts = read_prompts(files.0.path()).expect("valid");
    assert_eq!(
        prompts.into_iter().collect::<Vec<_>>(),
        [("one".to_owned(), "a cow".to_owned())]
    );
    files.write("two.txt", "a\0 \0c\0o\0w\0");
    let error = read_prompts(files.0.path())
        .expect_err("UTF-16")
        .to_string();
    assert!(
        error.contains("two.txt` line 1: the prompt: holds a NUL"),
        "{error}"
    );
}

#[test]
fn wrong_questions_are_refused_with_their_line() {
    let files = Files::new();
    let good = "a,t,,1,0,,,entity - whole (x),q\n";
    for (rows, expected) in [
        ("a,t,,2,0\n", "line 3: 5 fields, the header has 9"),
        (
            "a,t,,2,first,,,entity (x),q\n",
            "line 3: `first` is not the number of a question",
        ),
        ("a,t,,2,,,,entity (x),q\n", "line 3: `` is not the number"),
        (
            "a,t,,1,0,,,entity (x),q\n",
            "line 3: the item had a question 1 before",
        ),
        (
            "b,t,,1,0,,,entity (x),q\na,t,,2,0,,,entity (x),q\n",
            "line 4: item `a` was there before",
        ),
        (
            "a,t,,2,7,,,entity (x),q\n",
            "question 2 depends on question 7, which is not there",
        ),
    ] {
        let path = files.write("questions.csv", &format!("{HEADER}{good}{rows}"));
        let error = Graph::read(path, Quirks::NONE)
            .expect_err(expected)
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
    let path = files.write("questions.csv", "item_id,text\n");
    let error = Graph::read(path, Quirks::NONE)
        .expect_err("columns")
        .to_string();
    assert!(error.contains("has no column `proposition_id`"), "{error}");
}

#[test]
fn answers_must_be_complete() {
    let files = Files::new();
    let csv = format!("{HEADER}a,t,,1,0,,,entity (x),q\n");
    for (lines, expected) in [
        ("", "item `a` has no answers"),
        (
            r#"{"item":"a","image":0,"answers":{"2":"yes"}}"#,
            "item `a`, image 0: question 1 has no answer",
        ),
        (
            r#"{"item":"a","image":1,"answers":{"1":"yes"}}"#,
            "line 1: image 1, but no image 0 of the item",
        ),
        (
            "{\"item\":\"a\",\"image\":0,\"answers\":{}}\n{\"item\":\"a\",\"image\":0,\"answers\":{}}",
            "line 2: image 0 of item `a` was there before",
        ),
        (
            r#"{"item":"a","image":0,"answers":{"one":"yes"}}"#,
            "line 1: ",
        ),
        (
            "{\"item\":\"a\",\"image\":0,\"answers\":{\"1\":\"yes\"}}\n{\"item\":\"b\",\"image\":0,\"answers\":{\"1\":\"yes\"}}",
            "answers to item `b`, which has no questions",
        ),
    ] {
        let path = files.write("answers.jsonl", lines);
        let scored =
            Answers::read(path).and_then(|answers| files.scores(&csv, &answers, Quirks::NONE));
        let error = scored.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn prompts_are_the_text_files_of_a_folder() {
    let files = Files::new();
    files.write("partiprompts97.txt", "A  barn.\n");
    files.write("README.md", "not a prompt");
    let prompts = read_prompts(files.0.path()).expect("valid");
    assert_eq!(
        prompts.into_iter().collect::<Vec<_>>(),
        [("partiprompts97".to_owned(), "A  barn.".to_owned())]
    );
    files.write("whoops1.txt", "\n");
    let error = read_prompts(files.0.path()).expect_err("empty").to_string();
    assert!(
        error.contains("whoops1.txt` line 1: the prompt: empty"),
        "{error}"
    );
}
