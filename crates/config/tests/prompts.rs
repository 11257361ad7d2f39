//! `[world.prompts]` and a table's `[prompts]`: one path or several, and limits.

use std::path::{Path, PathBuf};

use dmdr_config::{Experiment, HubFile, OnBadRow, World};

const OLD: &str = r#"name = "x"
method.dmdr = {}
events.evaluate_every = 0
[optim]
student.lr = 1e-4
fake_score.lr = 1e-4
[teacher]
weights = "base"
[world.prompts]
train = "train.txt"
validation = "sheet.txt"
size = 24
embeddings = "cache"
"#;

fn load(text: &str) -> Result<Experiment, String> {
    Experiment::parse(Path::new("x.toml"), text, &[]).map_err(|error| error.to_string())
}

#[test]
fn a_path_is_a_list_of_one() {
    let old = load(OLD).expect("valid");
    let text = old.to_toml();
    assert!(text.contains("train = \"train.txt\""), "{text}");
    for new in ["min_chars", "max_chars", "deduplicate", "on_bad_row"] {
        assert!(!text.contains(new), "the hash of old runs changes: {text}");
    }
    let list = load(&OLD.replace("\"train.txt\"", "[\"train.txt\"]")).expect("valid");
    assert_eq!(list, old);

    let several = OLD.replace("\"train.txt\"", "[\"a.txt\", \"b.csv\"]");
    let several = several.replace(
        "size = 24",
        "size = 24\nmin_chars = 2\nmax_chars = 9\ndeduplicate = true\non_bad_row = \"skip\"",
    );
    let several = load(&several).expect("valid");
    let World::Prompts(prompts) = &several.world else {
        panic!("{several:?}");
    };
    let paths: Vec<_> = prompts.train.iter().collect();
    assert_eq!(paths, [Path::new("a.txt"), Path::new("b.csv")]);
    let rules = prompts.rules();
    assert_eq!((rules.min_chars, rules.max_chars), (Some(2), Some(9)));
    assert!(rules.deduplicate && rules.on_bad_row == OnBadRow::Skip);
    assert_eq!(load(&several.to_toml()).expect("valid"), several);
    let named = several.referenced_files().into_iter();
    let named: Vec<_> = named.map(|file| (file.key, file.path)).collect();
    let second = ("world.prompts.train.1".to_owned(), PathBuf::from("b.csv"));
    assert!(named.contains(&second), "{named:?}");
}

#[test]
fn what_names_no_file_or_keeps_no_prompt_is_refused() {
    let with = |from: &str, to: &str| load(&OLD.replace(from, to)).expect_err(to);
    let error = with("\"train.txt\"", "[]");
    assert!(
        error.contains("line 10, column 9") && error.contains("at least one path"),
        "{error}"
    );
    let error = with("\"train.txt\"", "7");
    assert!(
        error.contains("expected a path or a list of paths"),
        "{error}"
    );
    let error = with("size = 24", "size = 24\nmin_chars = 9\nmax_chars = 8");
    assert!(
        error.contains("world.prompts.min_chars") && error.contains("at least 9 and at most 8"),
        "{error}"
    );
    let error = with("size = 24", "size = 24\non_bad_row = \"drop\"");
    assert!(error.contains("expected `fail` or `skip`"), "{error}");
}

/// As `huggingface_hub.parse_hf_uri` reads them.
#[test]
fn revisions_of_data_sets_are_read_as_by_python() {
    let of = |path: &str| HubFile::of(Path::new(path));
    for (path, revision, name) in [
        ("@refs/pr/1/a.json", "refs/pr/1", "a.json"),
        (
            "@refs/convert/parquet/default/0.parquet",
            "refs/convert/parquet",
            "default/0.parquet",
        ),
        ("@refs/convert/par-q_1.2/a", "refs/convert/par-q_1.2", "a"),
        ("@refs%2fconvert%2Fduckdb/a", "refs/convert/duckdb", "a"),
        ("@feature%2Fx%25/a", "feature/x%", "a"),
        ("@v1.0/a@b.json", "v1.0", "a@b.json"),
        ("@refs/heads/a", "refs", "heads/a"),
        ("@refs/pr/x/a", "refs", "pr/x/a"),
        ("@ä/1 #?%20.json", "ä", "1 #?%20.json"),
    ] {
        let file = of(&format!("hf://datasets/lab/set{path}")).expect(path);
        assert_eq!(
            (file.revision.as_deref(), file.path.as_str()),
            (Some(revision), name)
        );
        assert_eq!(
            of(file.to_path().to_str().expect("UTF-8")),
            Some(file),
            "{path}"
        );
    }
    let file = of("hf://datasets/lab/set/a@b.json").expect("on the hub");
    assert_eq!((file.revision, file.path.as_str()), (None, "a@b.json"));
}

#[test]
fn files_of_data_sets_are_named_as_on_the_hub() {
    let of = |path: &str| HubFile::of(Path::new(path));
    let path = "hf://datasets/lab/set@refs%2Fpr%2F1/data/train.parquet";
    let file = of(path).expect("on the hub");
    assert_eq!(file.repository, "lab/set");
    assert_eq!(file.revision.as_deref(), Some("refs/pr/1"));
    assert_eq!(file.path, "data/train.parquet");
    let path = Path::new("hf://datasets/lab/set@refs/pr/1/data/train.parquet");
    assert_eq!(file.to_path(), path);
    let file = of("hf://datasets/lab/set/a.json").expect("on the hub");
    assert_eq!((file.revision, file.path.as_str()), (None, "a.json"));
    for local in [
        "datasets/lab/set/a.json",
        "train.txt",
        "hf:/datasets/lab/set/a",
    ] {
        assert_eq!(of(local), None, "{local}");
    }
    for wrong in [
        "hf://lab/set/a.json",
        "hf://datasets/lab/set",
        "hf://datasets/lab/set@/a.json",
        "hf://datasets//set/a.json",
        "hf://datasets/lab/set@refs/pr/1",
        "hf://datasets/lab/set/../a.json",
        "hf://datasets/lab/set@v1/a//b.json",
        "hf://datasets/lab/set/data/",
        "https://huggingface.co/datasets/lab/set/resolve/main/a.json",
    ] {
        let text = OLD.replace("\"train.txt\"", &format!("[\"{wrong}\"]"));
        let error = load(&text).expect_err(wrong);
        assert!(
            error.contains("line 10") && error.contains(wrong) && error.contains("OWNER/NAME"),
            "{error}"
        );
    }

    // A run keeps the commit that it began with, unless another one is asked for.
    let train = |path: &str| {
        let loaded = load(&OLD.replace("train.txt", path)).expect("valid");
        let named = loaded.referenced_files().len();
        match loaded.world {
            World::Prompts(prompts) => (prompts.train, named),
            other => panic!("{other:?}"),
        }
    };
    let (begun, num_files) = train("hf://datasets/lab/set@abc/a.json");
    assert_eq!(
        num_files,
        train("train.txt").1 - 1,
        "it is not looked for here"
    );
    for (asked, expected) in [
        (
            "hf://datasets/lab/set/a.json",
            "hf://datasets/lab/set@abc/a.json",
        ),
        (
            "hf://datasets/lab/set@def/a.json",
            "hf://datasets/lab/set@def/a.json",
        ),
        (
            "hf://datasets/lab/set/b.json",
            "hf://datasets/lab/set/b.json",
        ),
    ] {
        let mut paths = train(asked).0;
        paths.keep_revisions(&begun);
        assert_eq!(paths, train(expected).0);
    }
}
