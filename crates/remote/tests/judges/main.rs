//! Judges elsewhere, against servers that answer, hang, lie and die.

mod reference;
mod server;

use std::fs;
use std::time::{Duration, Instant};

use dmdr_remote::{
    ApiKey, Cache, Client, Endpoint, JudgeError, Parameters, RemoteReward, Retry, VlmJudge,
};
use serde_json::json;

use server::{Reply, Server};

const TIMEOUT: Duration = Duration::from_millis(300);

fn endpoint(url: &str) -> Endpoint {
    Endpoint {
        timeout: TIMEOUT,
        retry: Retry {
            attempts: 3,
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(20),
        },
        ..Endpoint::new(url)
    }
}

fn client(server: &Server) -> Client {
    endpoint(&server.url).client().expect("an address")
}

fn ok(body: impl Into<String>) -> Reply {
    Reply::Answer(200, "", body.into())
}

/// What a chat server says.
fn says(text: &str) -> Reply {
    ok(json!({"choices": [{"message": {"role": "assistant", "content": text}}]}).to_string())
}

/// Two images scored by a server with these replies.
fn score(replies: Vec<Reply>) -> (Result<Vec<Option<f32>>, JudgeError>, Server) {
    let server = Server::start(replies);
    let scores = RemoteReward::new(client(&server)).score(&["a cow", "кот"], &[b"\x89PNG", b""]);
    (scores, server)
}

#[test]
fn a_good_server_gets_prompts_and_images_and_gives_scores() {
    let (scores, server) = score(vec![ok(r#"{"scores": [0.25, -3], "model": "x"}"#)]);
    assert_eq!(scores.expect("an answer"), [Some(0.25), Some(-3.0)]);
    let [request] = &server.requests()[..] else {
        panic!("one request")
    };
    assert!(
        request.head.starts_with("POST /score HTTP/1.1\r\n"),
        "{}",
        request.head
    );
    assert!(!request.head.to_lowercase().contains("authorization"));
    assert_eq!(
        request.body,
        json!({"prompts": ["a cow", "кот"], "images": ["iVBORw==", ""]})
    );
    let nobody = endpoint("http://127.0.0.1:1/")
        .client()
        .expect("an address");
    assert!(
        RemoteReward::new(nobody)
            .score(&[], &[])
            .expect("no request")
            .is_empty()
    );
}

#[test]
fn what_may_pass_is_tried_again() {
    let good = || ok(r#"{"scores": [1, 2]}"#);
    let busy = |status| Reply::Answer(status, "", "busy".to_owned());
    for bad in [
        busy(429),
        busy(500),
        busy(503),
        Reply::Die,
        Reply::DieHalfway,
        Reply::Hang,
    ] {
        let (scores, server) = score(vec![bad, good()]);
        assert_eq!(scores.expect("the second attempt"), [Some(1.0), Some(2.0)]);
        assert_eq!(server.requests().len(), 2);
    }
}

#[test]
fn a_server_may_ask_for_a_longer_wait_but_not_for_any() {
    let busy = Reply::Answer(429, "Retry-After: 3600\r\n", String::new());
    let start = Instant::now();
    let (scores, _) = score(vec![busy, ok(r#"{"scores": [1, 2]}"#)]);
    scores.expect("the second attempt");
    assert!(
        start.elapsed() >= Duration::from_millis(20),
        "the longest wait"
    );
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn patience_ends_and_says_why() {
    let hanging = || vec![Reply::Hang, Reply::Hang, Reply::Hang];
    let start = Instant::now();
    let (scores, server) = score(hanging());
    let error = scores.expect_err("nobody answers").to_string();
    assert!(
        error.contains("after 3 attempts: it took longer than 300ms"),
        "{error}"
    );
    assert!(error.contains(&server.url), "{error}");
    assert!(start.elapsed() < 3 * TIMEOUT + Duration::from_secs(5));

    let busy = || Reply::Answer(503, "", "loading the model".to_owned());
    let error = score(vec![busy(), busy(), busy()])
        .0
        .expect_err("busy")
        .to_string();
    assert!(
        error.contains("after 3 attempts: status 503: loading the model"),
        "{error}"
    );

    let error = score(vec![Reply::Die]).0.expect_err("dead").to_string();
    assert!(error.contains("after 3 attempts"), "{error}");
}

#[test]
fn a_refusal_is_final() {
    for status in [301, 400, 404, 422] {
        let (scores, server) = score(vec![Reply::Answer(status, "", "no such model".to_owned())]);
        let error = scores.expect_err("refused").to_string();
        let expected = format!("refused the request with status {status}: no such model");
        assert!(error.contains(&expected), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[test]
fn lies_are_asked_for_anew_and_then_refused() {
    for (body, expected) in [
        (r#"{"scores": [1]}"#, "1 scores for 2 images: [1.0]"),
        (r#"{"scores": [1, 2, 3]}"#, "3 scores for 2 images"),
        (
            r#"{"scores": [1, NaN]}"#,
            "does not keep to the protocol: expected value",
        ),
        (r#"{"scores": [1, 1e39]}"#, "score 1 is not finite"),
        (r#"{"scores": ["1", "2"]}"#, "invalid type: string"),
        (r#"{"rewards": [1, 2]}"#, "missing field `scores`"),
        ("<html>Welcome</html>", "<html>Welcome</html>"),
        ("", "EOF while parsing"),
    ] {
        let (scores, server) = score(vec![ok(body); 3]);
        let error = scores.expect_err(body);
        assert!(
            error.is_of_one_answer() && error.to_string().contains(expected),
            "{error}"
        );
        assert_eq!(server.requests().len(), 3);
        let (scores, server) = score(vec![ok(body), ok(r#"{"scores": [1, 2]}"#)]);
        assert_eq!(scores.expect("the second answer"), [Some(1.0), Some(2.0)]);
        assert_eq!(server.requests().len(), 2);
    }
    let (scores, server) = score(vec![ok(r#"{"scores": [1, null]}"#)]);
    assert_eq!(
        scores.expect("a picture may be left out"),
        [Some(1.0), None]
    );
    assert_eq!(server.requests().len(), 1);
}

/// What is of the picture costs the picture; what is of the judge ends the asking.
#[test]
fn a_judge_that_is_gone_differs_from_an_answer_that_is_none() {
    for (status, is_of_one_answer) in [
        (400, true),
        (413, true),
        (422, true),
        (404, false),
        (410, false),
    ] {
        let (scores, server) = score(vec![Reply::Answer(status, "", "no".to_owned())]);
        let error = scores.expect_err("refused");
        assert_eq!(error.is_of_one_answer(), is_of_one_answer, "{error}");
        assert_eq!(server.requests().len(), 1);
    }
    let (scores, _) = score(vec![Reply::Die; 3]);
    assert!(!scores.expect_err("no answer").is_of_one_answer());
}

#[test]
fn keys_are_trimmed_and_checked_and_told_at_once_when_they_are_wrong() {
    for (key, expected) in [
        ("", "the key is empty"),
        (" \r\n", "the key is empty"),
        ("ses\name", "at place 4"),
        ("se\tsame", "at place 3"),
        ("s\u{e9}same", "at place 2"),
        ("\u{FEFF}sesame", "at place 1"),
    ] {
        let error = ApiKey::new(key).expect_err(expected).to_string();
        assert!(
            error.contains(expected) && !error.contains("same"),
            "{error}"
        );
    }
    for (status, key, expected) in [
        (
            401,
            Some("sesame\n"),
            "does not accept the key (status 401): who?",
        ),
        (
            403,
            Some("sesame"),
            "does not accept the key (status 403): who?",
        ),
        (
            401,
            None,
            "wants a key, and none is given (status 401): who?",
        ),
    ] {
        let server = Server::start([Reply::Answer(status, "", "who?".to_owned())]);
        let endpoint = Endpoint {
            api_key: key.map(|key| ApiKey::new(key).expect("a key")),
            ..endpoint(&server.url)
        };
        let judge = VlmJudge::new(endpoint.client().expect("an address"), "m");
        let error = judge.yes_no(b"", "q").expect_err("denied");
        assert!(
            !error.is_of_one_answer() && error.to_string().contains(expected),
            "{error}"
        );
        let [request] = &server.requests()[..] else {
            panic!("one attempt")
        };
        let sent = request.head.contains("Bearer sesame\r\n");
        assert_eq!(sent, key.is_some(), "{}", request.head);
    }
}

#[test]
fn addresses_are_checked_and_keys_are_kept_secret() {
    for url in [
        "localhost:8000",
        "ftp://a/b",
        "",
        "http://",
        "not an address",
    ] {
        let error = Endpoint::new(url).client().expect_err(url).to_string();
        assert!(error.contains("is not an address"), "{error}");
    }
    let server = Server::start([Reply::Answer(401, "", String::new())]);
    let api_key = Some(ApiKey::new("sesame").expect("a key"));
    let endpoint = Endpoint {
        api_key,
        ..endpoint(&server.url)
    };
    assert!(!format!("{endpoint:?}").contains("sesame"));
    let judge = VlmJudge::new(endpoint.client().expect("an address"), "m");
    let error = judge.yes_no(b"", "q").expect_err("refused");
    assert!(!format!("{error} {error:?} {judge:?}").contains("sesame"));
    let head = &server.requests()[0].head;
    assert!(
        head.to_lowercase().contains("authorization: bearer sesame"),
        "{head}"
    );
}

#[test]
fn a_model_is_asked_in_the_chat_format() {
    let server = Server::start([says("Yes."), says("7.5")]);
    let judge = VlmJudge::new(client(&server), "some-vl");
    assert!(
        judge
            .yes_no(b"\x89PNG", "Is there a cow?")
            .expect("an answer")
    );
    let quality = judge
        .number(b"\x89PNG", "How good is it?", &(0.0..=10.0))
        .expect("an answer");
    assert!((quality - 7.5).abs() < 1e-12);
    let requests = server.requests();
    let body = &requests[0].body;
    assert_eq!(
        (&body["model"], &body["temperature"]),
        (&json!("some-vl"), &json!(0))
    );
    let content = &body["messages"][0]["content"];
    assert_eq!(
        content[0]["image_url"]["url"],
        "data:image/png;base64,iVBORw=="
    );
    let text = content[1]["text"].as_str().expect("a text");
    assert!(
        text.contains("yes or no") && text.ends_with("Is there a cow?"),
        "{text}"
    );
}

#[test]
fn an_answer_of_another_form_is_an_error() {
    for (reply, expected) in [
        (
            says("Certainly, yes"),
            "asked for yes or no and said `Certainly, yes`",
        ),
        (says(""), "said ``"),
        (ok(r#"{"choices": []}"#), "no choice with a text"),
        (
            ok(r#"{"choices": [{"message": {"content": null, "reasoning_content": "Is it?"}}]}"#),
            r#"no choice with a text: {"choices":[{"message":{"content":null,"reasoning_content":"Is it?"}"#,
        ),
        (
            ok(r#"{"error": "out of memory"}"#),
            r#"no choice with a text: {"error":"out of memory"}"#,
        ),
        (says("<think>Is it a cow"), "said `<think>Is it a cow`"),
        (
            ok(
                r#"{"choices": [{"message": {"content": "Well, let me"}, "finish_reason": "length"}]}"#,
            ),
            "cut off after 16 tokens, at `Well, let me`; raise `max_tokens`",
        ),
    ] {
        let server = Server::start(vec![reply; 3]);
        let error = VlmJudge::new(client(&server), "m")
            .yes_no(b"", "q")
            .expect_err(expected);
        assert!(
            error.is_of_one_answer() && error.to_string().contains(expected),
            "{error}"
        );
        assert_eq!(server.requests().len(), 3, "asked anew");
    }
}

#[test]
fn a_second_run_asks_only_what_is_new() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let cache = || Cache::new(folder.path().join("answers"));
    // Three answers cannot be parsed, so none is kept.
    let replies = ["yes", "perhaps", "perhaps", "perhaps", "no", "no"];
    let server = Server::start(replies.map(says));
    let judge = VlmJudge::new(client(&server), "m").with_cache(cache());
    assert!(judge.yes_no(b"image", "q").expect("an answer"));
    judge.yes_no(b"image", "r").expect_err("perhaps");
    assert!(!judge.yes_no(b"image", "r").expect("asked again"));
    assert!(judge.yes_no(b"image", "q").expect("kept"));
    assert!(!judge.yes_no(b"another", "q").expect("another image"));
    assert_eq!(server.requests().len(), 6);

    let gone = Server::start([]);
    let ask = |model, templates: Option<&str>| {
        let judge = VlmJudge::new(client(&gone), model).with_cache(cache());
        let judge = match templates {
            Some(text) => judge.with_templates(text, text).expect("valid templates"),
            None => judge,
        };
        judge.yes_no(b"image", "q")
    };
    assert!(ask("m", None).expect("a new process asks nobody"));
    ask("n", None).expect_err("another model");
    ask("m", Some("{question}")).expect_err("other words");
}

/// A model that thinks needs room; servers differ in what they take; other parameters are another question.
#[test]
fn parameters_are_sent_and_left_out_as_told() {
    let extra =
        json!({"max_completion_tokens": 512, "chat_template_kwargs": {"enable_thinking": false}});
    let parameters = Parameters {
        extra: extra.as_object().expect("an object").clone(),
        omit: vec!["temperature".to_owned(), "max_tokens".to_owned()],
        ..Parameters::default()
    };
    let folder = tempfile::tempdir().expect("temporary folder");
    let said = json!({"choices": [{"message": {"content": "<think>Hm.</think>\n\n**8**/10"}}]});
    let server = Server::start([ok(said.to_string()), says("3")]);
    let judge = |parameters| {
        let judge = VlmJudge::new(client(&server), "m").with_cache(Cache::new(folder.path()));
        let judge = judge.with_parameters(parameters).expect("the user's own");
        judge
            .number(b"png", "How good?", &(0.0..=10.0))
            .expect("a number")
    };
    let told = [parameters.clone(), parameters, Parameters::default()].map(judge);
    assert_eq!(
        told.map(|number| number as u8),
        [8, 8, 3],
        "the second is kept"
    );
    let requests = server.requests();
    let body = requests[0].body.as_object().expect("an object");
    let names: Vec<&str> = body.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "max_completion_tokens",
            "chat_template_kwargs",
            "model",
            "messages"
        ]
    );
    assert_eq!(body["max_completion_tokens"], 512);
    assert_eq!(
        (&requests[1].body["max_tokens"], requests.len()),
        (&json!(16), 2)
    );

    for name in ["model", "messages", "stream", "n"] {
        let parameters = Parameters {
            omit: vec![name.to_owned()],
            ..Parameters::default()
        };
        let judge = VlmJudge::new(client(&server), "m").with_parameters(parameters);
        let error = judge.expect_err(name).to_string();
        assert!(
            error.contains(&format!("`{name}` cannot be set")),
            "{error}"
        );
    }
}

#[test]
fn templates_need_a_place_for_the_question() {
    let server = Server::start([]);
    let judge = VlmJudge::new(client(&server), "m").with_templates("{question}", "how good?");
    let error = judge.expect_err("no place").to_string();
    assert!(error.contains("has no `{question}`: how good?"), "{error}");
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let occupied = folder.path().join("file");
    fs::write(&occupied, "").expect("written");
    let server = Server::start([says("yes")]);
    let judge = VlmJudge::new(client(&server), "m").with_cache(Cache::new(&occupied));
    let error = judge
        .yes_no(b"", "q")
        .expect_err("not a folder")
        .to_string();
    assert!(error.contains("file"), "{error}");
}
