//! A vision-language model as a reward and a metric: strict, asked once for each picture, without gradient.

mod common;

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{
    fail, pipeline,
    server::{Answer, serve},
    succeed,
};

const REWARD: &str = r#"
[[rewards]]
[rewards.model.vlm]
name = "oracle"
url = "URL"
model = "eyes-7b"
template = "Does it show this? {question} Answer 0 to 10."
range = [0, 10]
cache = "answers"
timeout_s = 20
attempts = 2
"#;

/// Says a number of one decimal that hangs on the picture; what it was told last, and how often.
fn oracle() -> (String, Arc<Mutex<String>>, Arc<AtomicUsize>) {
    let (told, count) = (
        Arc::<Mutex<String>>::default(),
        Arc::<AtomicUsize>::default(),
    );
    let (last, counted) = (Arc::clone(&told), Arc::clone(&count));
    let url = serve(move |request| {
        counted.fetch_add(1, Ordering::SeqCst);
        let asked: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(asked["model"], "eyes-7b");
        let content = &asked["messages"][0]["content"];
        let text = content[1]["text"].as_str().expect("a text");
        text.clone_into(&mut last.lock().expect("nobody panics"));
        let image = content[0]["image_url"]["url"].as_str().expect("an image");
        let number = image.bytes().map(usize::from).sum::<usize>() % 100;
        let content = format!("{}.{}", number / 10, number % 10);
        let reply = serde_json::json!({"choices": [{"message": {"content": content}}]});
        Answer::ok(reply.to_string())
    });
    (format!("{url}/v1/chat/completions"), told, count)
}

/// A config `NAME.toml` that learns by `algorithm` from the judge at `url`.
fn config(here: &Path, name: &str, url: &str, algorithm: &str) -> String {
    let text = fs::read_to_string(here.join("run.toml")).expect("written");
    let rl = format!("[method.dmdr.rl]\nalgorithm = {algorithm}\n");
    let text = text.replace("[optim.generator]", &format!("{rl}[optim.generator]"));
    let text = text.replace("name = \"tiny\"", &format!("name = \"{name}\""));
    let file = format!("{name}.toml");
    fs::write(here.join(&file), text + &REWARD.replace("URL", url)).expect("writable");
    file
}

const GRPO: &str = "{ grpo = { groups = { num_prompts = 1, size = 4 } } }";

#[test]
fn grpo_learns_from_a_judge_that_is_asked_once() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let (url, told, count) = oracle();
    let first = config(here, "first", &url, GRPO);
    succeed(here, &["doctor", &first]);
    assert_eq!(count.load(Ordering::SeqCst), 0, "a rehearsal asks nobody");
    succeed(here, &["train", &first]);
    assert_eq!(count.load(Ordering::SeqCst), 4, "a question a picture");
    let told = told.lock().expect("nobody panics").clone();
    let prompts = ["a red cat", "a green bird"]
        .map(|prompt| format!("Does it show this? {prompt} Answer 0 to 10."));
    assert!(prompts.contains(&told), "{told}");
    let metrics = fs::read_to_string(here.join("runs/first/metrics.jsonl")).expect("written");
    assert!(metrics.contains("reward/oracle/mean"));

    // The same pictures are known, whatever the run, and the answers are those from before.
    let second = config(here, "second", &url, GRPO);
    succeed(here, &["train", &second]);
    assert_eq!(count.load(Ordering::SeqCst), 4);
    let student = |name: &str| {
        let path = here.join("runs").join(name).join("student.safetensors");
        dmdr_tensor::read_tensors(&path).expect("finished")
    };
    assert_eq!(student("first"), student("second"));
}

#[test]
fn what_is_no_answer_stops_and_what_is_no_judge_is_refused() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let chatty = serve(|_| {
        let reply = serde_json::json!({"choices": [{"message": {"content": "7 of 10"}}]});
        Answer::ok(reply.to_string())
    });
    let run = config(here, "chatty", &chatty, GRPO);
    let error = fail(here, &["train", &run]);
    assert!(
        error.contains("`oracle`") && error.contains("a number from 0 to 10 and said `7 of 10`"),
        "{error}"
    );
    assert!(
        !here.join("answers").exists(),
        "what is no answer is not kept"
    );

    let set = |key: &str| {
        let key = format!("rewards.0.model.vlm.{key}");
        fail(here, &["config", "check", &run, "--set", &key])
    };
    assert!(set("template=How good is it?").contains("a text with `{question}`"));
    assert!(set("range=[10, 0]").contains("the lower end first"));
    assert!(set("attempts=0").contains("attempts"));
    let key = "rewards.0.model.vlm.key_env=NOBODY_SETS_THIS";
    assert!(fail(here, &["train", &run, "--set", key]).contains("NOBODY_SETS_THIS"));
    let refl = config(here, "refl", &chatty, "\"refl\"");
    assert!(fail(here, &["config", "check", &refl]).contains("ReFL needs one"));
}

#[test]
fn a_table_has_a_judge_and_says_what_it_was_told() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let (url, _, count) = oracle();
    succeed(here, &["train", "run.toml"]);
    let table = format!(
        "name = \"judged\"\nprecision = \"f32\"\n[prompts]\nfile = \"prompts.txt\"\n\
         [[models]]\nname = \"student\"\nrun = \"runs/tiny\"\nwho = \"student\"\n[[metrics]]\n\
         model.vlm = {{ url = \"{url}\", model = \"eyes-7b\", template = \"{{question}}?\", range = [0, 10] }}\n"
    );
    fs::write(here.join("judged.toml"), table).expect("writable");
    let measure = ["eval", "table", "--config", "judged.toml"];
    succeed(here, &measure);
    succeed(here, &measure);
    assert_eq!(count.load(Ordering::SeqCst), 2, "scores are kept");
    let path = here.join("runs/tables/judged/table.json");
    let table: serde_json::Value =
        serde_json::from_slice(&fs::read(path).expect("written")).expect("JSON");
    assert_eq!(table["metrics"][0]["settings"]["template"], "{question}?");
    let mean = &table["table"]["rows"][0]["means"]["vlm"]["mean"];
    assert!((0.0..10.0).contains(&mean.as_f64().expect("a number")));
    // Other words are another measurement.
    let words = "metrics.0.model.vlm.template=Rate {question}";
    succeed(here, &[&measure[..], &["--set", words]].concat());
    assert_eq!(count.load(Ordering::SeqCst), 4);
}
