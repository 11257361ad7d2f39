//! A vision-language model as a reward and a metric: strict, asked once for each picture, without gradient. What it does not
//! say costs a picture, never a run.

mod common;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{
    dmdr, fail, pipeline,
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

/// Says a number of one decimal that hangs on the picture; what it was asked last, and how often.
fn oracle() -> (String, Arc<Mutex<serde_json::Value>>, Arc<AtomicUsize>) {
    let (told, count) = (
        Arc::<Mutex<serde_json::Value>>::default(),
        Arc::<AtomicUsize>::default(),
    );
    let (last, counted) = (Arc::clone(&told), Arc::clone(&count));
    let url = serve(move |request| {
        counted.fetch_add(1, Ordering::SeqCst);
        let asked: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
        assert_eq!(asked["model"], "eyes-7b");
        let content = &asked["messages"][0]["content"];
        last.lock().expect("nobody panics").clone_from(&asked);
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
    let text = text.replace("[optim.student]", &format!("{rl}[optim.student]"));
    let text = text.replace("name = \"tiny\"", &format!("name = \"{name}\""));
    let file = format!("{name}.toml");
    fs::write(here.join(&file), text + &REWARD.replace("URL", url)).expect("writable");
    file
}

const GRPO: &str = "{ grpo = { groups = { num_prompts = 1, size = 4 } } }";
const DPO: &str = "{ dpo = { groups = { num_prompts = 1, size = 4 } } }";

#[test]
fn grpo_learns_from_a_judge_that_is_asked_once() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let (url, asked, count) = oracle();
    let first = config(here, "first", &url, GRPO);
    succeed(here, &["doctor", &first]);
    assert_eq!(count.load(Ordering::SeqCst), 0, "a rehearsal asks nobody");
    succeed(here, &["train", &first]);
    assert_eq!(count.load(Ordering::SeqCst), 4, "a question a picture");
    let told = asked.lock().expect("nobody panics")["messages"][0]["content"][1]["text"].clone();
    let prompts = ["a red cat", "a green bird"]
        .map(|prompt| format!("Does it show this? {prompt} Answer 0 to 10."));
    let told = told.as_str().expect("a text");
    assert!(prompts.iter().any(|prompt| prompt == told), "{told}");
    let metrics = fs::read_to_string(here.join("runs/first/metrics.jsonl")).expect("written");
    assert!(metrics.contains("reward/oracle/mean"));

    // Other parameters are sent as told.
    let mut third = fs::read_to_string(here.join(&first)).expect("written");
    third = third
        .replace("name = \"first\"", "name = \"third\"")
        .replace("cache = \"answers\"\n", "");
    third += "max_tokens = 600\nomit = [\"temperature\"]\nparameters = { seed = 1, chat_template_kwargs = { enable_thinking = false } }\n";
    fs::write(here.join("third.toml"), third).expect("writable");
    succeed(here, &["train", "third.toml"]);
    assert_eq!(count.swap(4, Ordering::SeqCst), 8);
    let asked = asked.lock().expect("nobody panics").clone();
    assert_eq!(
        (&asked["max_tokens"], &asked["seed"]),
        (&600.into(), &1.into())
    );
    assert_eq!(asked["chat_template_kwargs"]["enable_thinking"], false);
    assert!(asked.get("temperature").is_none());

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

/// [`config`] with three updates and a checkpoint after each.
fn longer(here: &Path, name: &str, url: &str, algorithm: &str) -> String {
    let file = config(here, name, url, algorithm);
    let text = fs::read_to_string(here.join(&file)).expect("written");
    let text = text.replace("num_updates = 1", "num_updates = 3");
    let text = text.replace("[events]", "[events]\ncheckpoint_every = 1");
    fs::write(here.join(&file), text).expect("writable");
    file
}

/// Says nothing usable about every fourth picture that is new to it, and the same as before about the others. Once it was
/// asked about `most` pictures in all it is down.
#[derive(Clone, Default)]
struct Moody(Arc<Mutex<Vec<String>>>);

impl Moody {
    fn serve(&self, most: usize) -> String {
        let known = self.clone();
        let mut here = std::collections::HashSet::new();
        let url = serve(move |request| {
            let asked: serde_json::Value = serde_json::from_slice(&request.body).expect("JSON");
            let image = &asked["messages"][0]["content"][0]["image_url"]["url"];
            let image = image.as_str().expect("an image").to_owned();
            here.insert(image.clone());
            if here.len() > most {
                return Answer {
                    status: 503,
                    ..Answer::ok("out for lunch")
                };
            }
            let mut known = known.0.lock().expect("nobody panics");
            let place = known.iter().position(|other| *other == image);
            let place = place.unwrap_or_else(|| {
                known.push(image.clone());
                known.len() - 1
            });
            let content = if place % 4 == 1 {
                "I would rather not say.".to_owned()
            } else {
                format!("<think>It could be 9.</think>\n\n**{}**/10", place % 10)
            };
            let reply = serde_json::json!({"choices": [{"message": {"content": content}}]});
            Answer::ok(reply.to_string())
        });
        format!("{url}/v1/chat/completions")
    }
}

/// One answer that cannot be used costs its picture; a judge that is down costs the time until it is back, at whatever address.
#[test]
fn a_run_survives_what_a_judge_does_not_say() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    for (algorithm, name) in [(GRPO, "grpo"), (DPO, "dpo")] {
        let moody = Moody::default();
        let url = moody.serve(usize::MAX);
        let whole = longer(here, name, &url, algorithm);
        let without_cache = |file: &str| {
            let text = fs::read_to_string(here.join(file)).expect("written");
            fs::write(here.join(file), text.replace("cache = \"answers\"\n", ""))
                .expect("writable");
        };
        without_cache(&whole);
        succeed(here, &["train", &whole]);
        let metrics = fs::read_to_string(here.join(format!("runs/{name}/metrics.jsonl")));
        let metrics = metrics.expect("written");
        assert_eq!(
            metrics.matches("\"reward/oracle/missing\":1.0").count(),
            3,
            "{metrics}"
        );
        assert_eq!(
            metrics.matches("\"rl/left_out\":1.0").count(),
            3,
            "{metrics}"
        );

        let other = format!("{name}-broken");
        let broken = longer(here, &other, &moody.serve(4), algorithm);
        without_cache(&broken);
        let error = fail(
            here,
            &["train", &broken, "--set", "rewards.0.model.vlm.attempts=1"],
        );
        assert!(
            error.contains("`oracle`") && error.contains("status 503: out for lunch"),
            "{error}"
        );
        // It is back elsewhere, and its answers may be kept from now on.
        let output = Command::new(env!("CARGO_BIN_EXE_dmdr"))
            .current_dir(here)
            .env("OMP_NUM_THREADS", "1")
            .args(["train", &broken, "--resume"])
            .args(["--set", &format!("rewards.0.model.vlm.url={url}")])
            .args(["--set", "rewards.0.model.vlm.timeout_s=60"])
            .output()
            .expect("starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{told}");
        assert!(
            told.contains("`rewards.0.model.vlm` has other settings"),
            "{told}"
        );
        let warning = "warning: after update 2: reward `oracle` gave no score for 1 of 4 pictures, which are left out: \
                       the judge was asked for a number from 0 to 10 and said `I would rather not say.`";
        assert!(told.contains(warning), "{told}");
        let student = |name: &str| {
            let path = here.join("runs").join(name).join("student.safetensors");
            dmdr_tensor::read_tensors(&path).expect("finished")
        };
        assert_eq!(student(name), student(&other));
        // Another question is another reward.
        let words = "rewards.0.model.vlm.template=Is it {question}?";
        let error = fail(here, &["train", &broken, "--resume", "--set", words]);
        let is_named = error.contains("was made with config") || error.contains("template");
        assert!(is_named, "{error}");
    }
}

#[test]
fn a_judge_that_never_answers_ends_the_run_and_what_is_no_judge_is_refused() {
    let dir = pipeline::tiny_run();
    let here = dir.path();
    let chatty = serve(|_| {
        let reply = serde_json::json!({"choices": [{"message": {"content": "7 of 10"}}]});
        Answer::ok(reply.to_string())
    });
    let run = longer(here, "chatty", &chatty, GRPO);
    let error = fail(here, &["train", &run]);
    assert!(
        error.contains("`oracle`: no score for all pictures of 3 batches")
            && error.contains("a number from 0 to 10 and said `7 of 10`"),
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
    assert!(set("max_tokens=0").contains("max_tokens"));
    assert!(set("parameters.since=2026-01-01").contains("expected no date"));
    let own = "rewards.0.model.vlm.parameters.stream=true";
    assert!(
        fail(here, &["train", &run, "--set", "name=own", "--set", own])
            .contains("`stream` cannot be set")
    );
    let key = "rewards.0.model.vlm.key_env=BROKEN_KEY";
    let mut broken = dmdr(here, &["train", &run, "--set", "name=key", "--set", key]);
    let output = broken
        .env("BROKEN_KEY", "open\nsesame")
        .output()
        .expect("starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("`BROKEN_KEY`: the key holds a character that cannot be sent"),
        "{error}"
    );
    let key = "rewards.0.model.vlm.key_env=NOBODY_SETS_THIS";
    let error = fail(here, &["train", &run, "--set", "name=none", "--set", key]);
    assert!(error.contains("NOBODY_SETS_THIS"), "{error}");
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
