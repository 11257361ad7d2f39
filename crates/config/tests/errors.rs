//! Errors as a user sees them: file, line, caret, what was found, what was expected.

use std::path::Path;

use dmdr_config::{ConfigError, Document, Experiment, Pretrain};

const VALID: &str = r#"name = "x"
[teacher]
guidance = 3.0
[student]
num_steps = 4
[fake_score]
[method.dmdr]
ttur = 3
[method.dmdr.dm]
real_scale = { cosine = { from = 0.75, to = 0.0, over = 160 } }
[optim.student]
lr = 1e-4
[optim.fake_score]
lr = 1e-4
[events]
log_every = 1
"#;

fn load(text: &str, overrides: &[&str]) -> Result<Experiment, String> {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    Experiment::parse(Path::new("configs/x.toml"), text, &overrides).map_err(|e| e.to_string())
}

#[test]
fn an_unknown_key_has_a_caret_and_a_near_match() {
    let error = load(&VALID.replace("guidance", "guidence"), &[]).expect_err("typo");
    let expected = "\
in `configs/x.toml`: TOML parse error at line 3, column 1
  |
3 | guidence = 3.0
  | ^^^^^^^^
unknown field `guidence`, expected one of `weights`, `revision`, `text_encoder`, `vae`, `max_sequence_length`, `num_steps`, `shift`, `guidance`
hint: did you mean `guidance`?";
    assert_eq!(error, expected);
}

/// A line of [`VALID`], what is put there, the place and the message of the error.
const OUT_OF_RANGE: [(&str, &str, &str, &str); 25] = [
    (
        "guidance = 3.0",
        "guidance = 0.5",
        "line 3, column 12",
        "expected a guidance of at least 1",
    ),
    (
        "guidance = 3.0",
        "guidance = nan",
        "line 3, column 12",
        "expected a guidance of at least 1",
    ),
    (
        "guidance = 3.0",
        "guidance = \"3\"",
        "line 3, column 12",
        "invalid type: string \"3\", expected f64",
    ),
    (
        "guidance = 3.0",
        "num_steps = 0",
        "line 3, column 13",
        "expected a count of at least 1",
    ),
    (
        "num_steps = 4",
        "num_steps = 9",
        "line 5, column 13",
        "expected 1 to 8 steps",
    ),
    (
        "num_steps = 4",
        "shift = 0",
        "line 5, column 9",
        "expected a number above 0",
    ),
    (
        "num_steps = 4",
        "tuning = \"fulll\"",
        "line 5, column 10",
        "did you mean `full`?",
    ),
    (
        "num_steps = 4",
        "tuning = { lora = { alpha = 0 } }",
        "line 5, column 29",
        "expected a number above 0",
    ),
    (
        "num_steps = 4",
        "tuning = { lora = { targets = [] } }",
        "line 5, column 31",
        "at least one non-empty glob",
    ),
    (
        "[fake_score]",
        "[fake_score]\nscale = -1",
        "line 7, column 9",
        "expected a number above 0",
    ),
    ("ttur = 3", "ttur = 0", "line 8, column 8", "at least 1"),
    (
        "ttur = 3",
        "batch_size = 1.5",
        "line 8, column 14",
        "invalid type: floating point `1.5`",
    ),
    (
        "from = 0.75",
        "from = -0.5",
        "line 10, column 14",
        "its lowest value is -0.5, expected at least 0",
    ),
    (
        "real_scale",
        "real_scal",
        "line 10, column 1",
        "did you mean `real_scale`?",
    ),
    (
        "[events]",
        "[ema]\ndecay = 1.0\n[events]",
        "line 16, column 9",
        "expected a number in [0, 1)",
    ),
    (
        "log_every = 1",
        "keep_checkpoints = 0",
        "line 16, column 20",
        "expected a count of at least 1",
    ),
    (
        "[optim.fake_score]\nlr = 1e-4",
        "[optim.fake_score]\nlr = -1e-4",
        "line 14, column 6",
        "expected at least 0",
    ),
    (
        "[optim.fake_score]\nlr = 1e-4",
        "[optim.fake_score]",
        "line 13, column 1",
        "missing field `lr`",
    ),
    (
        "[optim.fake_score]\nlr = 1e-4",
        "[optim.fake_score]\nlr = 1\nbetas = [0.9, 1.0]",
        "line 15, column 9",
        "two numbers in [0, 1)",
    ),
    (
        "name = \"x\"",
        "name = \"a/b\"",
        "line 1, column 8",
        "a plain folder name",
    ),
    (
        "name = \"x\"",
        "name = \"..\"",
        "line 1, column 8",
        "a plain folder name",
    ),
    (
        "name = \"x\"",
        "name = \"x\"\ndevice = \"gpu\"",
        "line 2, column 10",
        "expected `cpu`, `cuda` or `cuda:N`",
    ),
    (
        "name = \"x\"",
        "name = \"x\"\nseed = -1",
        "line 2, column 8",
        "-1",
    ),
    ("name = \"x\"", "name = ", "line 1, column 8", ""),
    (
        "[method.dmdr]\n",
        "[method.dmrd]\n",
        "line 7, column 2",
        "hint: this table is a choice: keep exactly one of its keys",
    ),
];

#[test]
fn values_out_of_range_point_at_the_value() {
    for (from, to, place, message) in OUT_OF_RANGE {
        assert!(VALID.contains(from), "{from}");
        let error = load(&VALID.replacen(from, to, 1), &[]).expect_err(to);
        assert!(
            error.contains(place) && error.contains(message),
            "{to}\n{error}"
        );
    }
}

#[test]
fn beta_parameters_stay_positive_along_the_whole_anneal() {
    let text = VALID.replace(
        "ttur = 3",
        "fake_score.renoise.beta = { a = 1.0, b = { linear = { from = 1.0, to = 0.0, over = 9 } } }",
    );
    let error = load(&text, &[]).expect_err("b reaches 0");
    assert!(
        error.contains("its lowest value is 0, expected above 0 at every update"),
        "{error}"
    );
    assert!(error.contains("line 8"), "{error}");
}

#[test]
fn an_adapter_that_is_not_there_is_warned_of() {
    let no_dose = "method.dmdr.dm.real_scale=0";
    let warnings = |sets: &[&str]| {
        let loaded = load(VALID, &[&[no_dose], sets].concat()).expect("valid");
        loaded.warnings().join("\n")
    };
    let warning = "a full fake score has no use for them";
    assert!(!warnings(&["fake_score.form=full"]).contains(warning));
    for key in ["rank", "alpha", "scale"] {
        let set = format!("fake_score.{key}=7");
        assert!(warnings(&["fake_score.form=full", &set]).contains(warning));
        assert!(!warnings(&[&set]).contains(warning));
    }
}

#[test]
fn errors_of_overrides_name_the_override_not_the_file() {
    for (argument, message) in [
        ("method.dmdr.tur=2", "unknown field `tur`, expected one of"),
        ("method.dmdr.tur=2", "hint: did you mean `ttur`?"),
        ("methd.dmdr.ttur=2", "did you mean `method`?"),
        ("method.dmdr.ttur=0", "at least 1"),
        ("method.dmdr.ttur=fast", "invalid type: string \"fast\""),
        (
            "method.dmdr.dm.real_scale={ cosine = { from = 1 } }",
            "missing field `to`",
        ),
        ("student.tuning.lora.rnk=4", "did you mean `rank`?"),
        ("optim.fake_score.betas=[0.5, 2.0]", "two numbers in [0, 1)"),
    ] {
        let error = load(VALID, &["seed=3", argument]).expect_err(argument);
        assert!(
            error.starts_with(&format!("in override `--set {argument}`")),
            "{error}"
        );
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn overrides_apply_and_can_complete_a_file() {
    let experiment = load(
        VALID,
        &[
            "device=cuda:1",
            "ema.decay=0.9",
            "teacher.guidance=1",
            "student.tuning.lora.rank=8",
        ],
    )
    .expect("valid");
    assert_eq!(experiment.device, dmdr_config::Device::Cuda(Some(1)));
    assert_eq!(experiment.ema, Some(dmdr_config::Ema { decay: 0.9 }));
    assert!(matches!(experiment.student.tuning, dmdr_config::Tuning::Lora(lora) if lora.rank == 8));
    load(&VALID.replace("name = \"x\"", ""), &["name=late"]).expect("the name came later");
}

#[test]
fn the_kind_of_a_document_is_found_or_explained() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let write = |text: &str| {
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).expect("written");
        path
    };
    let path = write(VALID);
    assert!(matches!(
        Document::load(&path, &[]),
        Ok(Document::Experiment(_))
    ));
    let error = Pretrain::load(&path, &[])
        .expect_err("an experiment")
        .to_string();
    assert!(error.contains("run it with `dmdr train`"), "{error}");

    let path =
        write("name = \"t\"\nnum_updates = 1\nbatch_size = 1\nmodel.teacher = {}\noptim.lr = 1e-3");
    assert!(matches!(
        Document::load(&path, &[]),
        Ok(Document::Pretrain(_))
    ));
    let error = Experiment::load(&path, &[])
        .expect_err("a pretraining")
        .to_string();
    assert!(error.contains("run it with `dmdr pretrain`"), "{error}");

    for text in ["", "name = \"x\"", "model = 1\nmethod = 1"] {
        let error = Document::load(write(text), &[])
            .expect_err("neither")
            .to_string();
        assert!(error.contains("expected `method`"), "{error}");
    }
    let missing = folder.path().join("missing.toml");
    let error = Document::load(&missing, &[]).expect_err("missing");
    assert!(matches!(error, ConfigError::Read { .. }));
    assert!(error.to_string().contains("missing.toml"), "{error}");
}
