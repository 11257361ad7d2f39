//! `[evaluation]` of published models, and the guard on it.

use std::path::Path;

use dmdr_config::Experiment;

const RUN: &str = r#"name = "x"
method.dmdr.rl.weight = 1.0
[[rewards]]
model.hps = { weights = "hps", tokenizer = "tokenizer" }
[optim]
student.lr = 1e-4
fake_score.lr = 1e-4
[teacher]
weights = "base"
[world.prompts]
train = "train.txt"
validation = "validation.txt"
size = 64
embeddings = "cache"
[events]
evaluate_every = 100
[evaluation]
detectors = ["saturation", "grid"]
metrics = [{ model.pick_score = { weights = "pick", tokenizer = "tokenizer" } }]
diversity = { trunk = "alex", features = "alexnet", linear = "linear" }
[guard]
metric = "pick_score"
action = { lower_rl = 0.5 }
"#;

fn load(text: &str) -> Result<Experiment, String> {
    Experiment::parse(Path::new("x.toml"), text, &[]).map_err(|error| error.to_string())
}

#[test]
fn a_run_is_watched_by_what_it_is_not_trained_on() {
    let run = load(RUN).expect("valid");
    assert_eq!(
        run.evaluation.names(),
        ["pick_score", "saturation", "grid", "diversity"]
    );
    assert_eq!(load(&run.to_toml()).expect("valid"), run);
    let keys: Vec<String> = (run.referenced_files().into_iter())
        .map(|file| file.key)
        .filter(|key| key.starts_with("evaluation."))
        .collect();
    assert_eq!(
        keys,
        [
            "evaluation.metrics.0.model.pick_score.weights",
            "evaluation.metrics.0.model.pick_score.tokenizer",
            "evaluation.diversity.features",
            "evaluation.diversity.linear",
        ]
    );
    load(&RUN.replace("metric = \"pick_score\"", "metric = \"diversity\"")).expect("valid");
}

#[test]
fn what_cannot_be_measured_or_watched_is_refused() {
    for (from, to, message) in [
        (
            "metric = \"pick_score\"",
            "",
            "nothing called `preference_heldout` can be watched here; use one of `pick_score`, `diversity`",
        ),
        (
            "metric = \"pick_score\"",
            "metric = \"saturation\"",
            "nothing called `saturation` can be watched",
        ),
        (
            "model.hps = { weights = \"hps\"",
            "model.pick_score = { weights = \"pick\"",
            "`guard.metric`, `rewards.0.model`: `pick_score` is trained on",
        ),
        (
            "model.pick_score = {",
            "name = \"grid\", model.pick_score = {",
            "`evaluation.detectors`: another one is called `grid` as well",
        ),
        (
            "model.pick_score = { weights = \"pick\", tokenizer = \"tokenizer\" }",
            "name = \"pick_score\", model = \"judge\"",
            "`evaluation.metrics.0.model`, `world`: `judge` is of another world",
        ),
        (
            "size = 64",
            "size = 56",
            "`grid` looks at images of at least 64 pixels, and these have 56",
        ),
        (
            "detectors = [",
            "num_seeds = 1\ndetectors = [",
            "`evaluation.diversity`, `evaluation.num_seeds`: diversity is measured between",
        ),
        (
            "evaluate_every = 100",
            "",
            "the guard watches the periodic evaluation, and there is none",
        ),
    ] {
        let text = RUN.replacen(from, to, 1);
        let error = load(&text).expect_err(message);
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn an_evaluation_needs_metrics_and_the_emoji_world_brings_its_own() {
    let first = RUN.find("detectors").expect("there");
    let bare = &RUN[..first];
    let error = load(bare).expect_err("nothing to measure");
    assert!(
        error.contains("`events.evaluate_every`, `evaluation`: there is nothing to measure"),
        "{error}"
    );
    load(&bare.replace("evaluate_every = 100", "")).expect("valid");

    let emoji = "name = \"x\"\nmethod.dmdr = {}\noptim = { student.lr = 1e-4, fake_score.lr = 1e-4 }\n\
                 evaluation.detectors = [\"saturation\"]\n";
    let error = load(emoji).expect_err("it has its own");
    assert!(
        error.contains("the emoji world has metrics of its own"),
        "{error}"
    );
}
