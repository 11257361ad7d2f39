//! Each rule once, with its message.

use std::path::Path;

use crate::{Experiment, Method, Pretrain};

const EXPERIMENT: &str = r#"
name = "x"
[method.dmdr]
num_updates = 500
[method.dmdr.rl]
weight = 0.3
[[rewards]]
[rewards.model.preference]
weights = "assets/preference.safetensors"
[optim.student]
lr = 1e-4
[optim.fake_score]
lr = 1e-4
"#;

const PRETRAIN: &str = r#"
name = "x"
num_updates = 100
batch_size = 4
[model.teacher]
[optim]
lr = 1e-3
"#;

fn experiment(overrides: &[&str]) -> Result<Experiment, String> {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    Experiment::parse(Path::new("x.toml"), EXPERIMENT, &overrides).map_err(|e| e.to_string())
}

fn pretrain(overrides: &[&str]) -> Result<Pretrain, String> {
    let overrides: Vec<String> = overrides.iter().map(ToString::to_string).collect();
    Pretrain::parse(Path::new("x.toml"), PRETRAIN, &overrides).map_err(|e| e.to_string())
}

#[test]
fn the_bases_are_valid_and_quiet() {
    assert_eq!(
        experiment(&[]).expect("valid").warnings(),
        Vec::<String>::new()
    );
    assert_eq!(
        pretrain(&[]).expect("valid").warnings(),
        Vec::<String>::new()
    );
    experiment(&["method.dmdr.rl=", "rewards="]).expect("distribution matching only");
}

#[test]
fn rules_of_an_experiment() {
    let held_out = "rewards.0.model.preference.weights=assets/preference-heldout.safetensors";
    for (overrides, message) in [
        (
            &["rewards="][..],
            "a reinforcement learning term but no reward; add a `[[rewards]]` table",
        ),
        (
            &["method.dmdr.rl="],
            "there are 1 rewards but no reinforcement learning term",
        ),
        (
            &["method={ rl = { algorithm = { dpo = { refresh_every = 1 } } } }"],
            "`method.rl.algorithm.dpo.refresh_every`: a student that is its own reference has nothing that holds it back",
        ),
        (&["rewards.0.weight=0"], "the weight of every reward is 0"),
        (
            &["rewards.0.prefix='Realistic photo '"],
            "`rewards.0.prefix`: reward `preference` reads no prompt as free text",
        ),
        (
            &["student.conditioning_time=0.4"],
            "only a student of one step can be told another time than that of pure noise; this one has 4",
        ),
        (
            &["student={ num_steps = 1, shift = 3.0, conditioning_time = 0.4 }"],
            "`student.conditioning_time`, `student.shift`: both say where the grid of times begins",
        ),
        (
            &["fake_score={ form = 'output_lora', init_lora_weights = 'gaussian' }"],
            "only an adapter beside the weights is told how to start",
        ),
        (
            &["teacher.max_sequence_length=128"],
            "`teacher.max_sequence_length`: only a pipeline with prompts as text has one",
        ),
        (
            &["method.dmdr.dm.weight=0"],
            "`method.dmdr.dm.weight`: it is 0 at every update",
        ),
        (&[held_out], "the held-out metric must not be trained on"),
        (
            &["guard={}"],
            "the guard watches the periodic evaluation, and there is none",
        ),
        (
            &[
                "guard.metric=diversity",
                "events.evaluate_every=5",
                "evaluation.num_seeds=1",
            ],
            "diversity is measured between images of one prompt",
        ),
        (
            &[
                "guard.metric=geneval",
                "events.evaluate_every=5",
                "rewards.0.model=judge",
                "method.dmdr.rl.algorithm={ dpo = {} }",
            ],
            "GenEval is decided by the judge, which is trained on",
        ),
        (
            &[
                "guard.action={ lower_rl = 0.5 }",
                "events.evaluate_every=5",
                "method.dmdr.rl=",
                "rewards=",
            ],
            "only reinforcement learning beside distribution matching can be lowered",
        ),
    ] {
        let error = experiment(overrides).expect_err(message);
        assert!(error.starts_with("`x.toml` contradicts itself:"), "{error}");
        assert!(error.contains(message), "{error}");
    }
}

#[test]
fn a_batch_may_be_smaller_than_the_number_of_steps() {
    experiment(&["method.dmdr.batch_size=1", "student.num_steps=8"])
        .expect("drawn over iterations");
    let alone = "method={ rl = { batch_size = 1 } }";
    experiment(&[alone, "optim.fake_score=", "student.num_steps=8"]).expect("likewise");
}

#[test]
fn keys_of_recipes_have_ranges() {
    let sets = [
        "method.dmdr.dm.guidance=[6.5, 7.5]",
        "rewards.0.hinge=0.7",
        "student={ num_steps = 1, conditioning_time = 0.4 }",
        "fake_score.init_lora_weights=gaussian",
    ];
    experiment(&sets).expect("as in recipes");
    for (set, expected) in [
        (
            "method.dmdr.dm.guidance=[7.5, 6.5]",
            "invalid range [7.5, 6.5], expected the lower guidance first and both at least 1",
        ),
        ("method.dmdr.dm.guidance=[0.5, 7.5]", "both at least 1"),
        ("rewards.0.hinge=inf", "a finite number"),
        ("rewards.0.prefix=' '", "at least one word"),
        ("student.conditioning_time=0.0", "a number in (0, 1]"),
        ("teacher.max_sequence_length=0", "1 to 512 tokens"),
        ("teacher.max_sequence_length=513", "1 to 512 tokens"),
        ("fake_score.init_lora_weights=orthogonal", "`gaussian`"),
    ] {
        let error = experiment(&[set]).expect_err(expected);
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn all_broken_rules_are_told_at_once() {
    let error = experiment(&["rewards=", "method.dmdr.dm.weight=0"]).expect_err("two rules");
    assert_eq!(error.lines().count(), 3, "{error}");
}

#[test]
fn a_seed_beyond_toml_is_refused_before_it_is_rendered() {
    let mut experiment = experiment(&[]).expect("valid");
    experiment.seed = u64::MAX;
    let error = experiment.check().expect_err("too large").to_string();
    assert!(error.contains("`seed`"), "{error}");
}

#[test]
fn rules_of_a_pretraining() {
    for (overrides, message) in [
        (
            &["model.teacher.dim=10"][..],
            "dim = 10 is not divisible by heads = 4",
        ),
        (&["model.teacher.dim=20"], "a head of odd width 5"),
        (
            &["model.teacher.patch=5"],
            "patch = 5 does not divide the canvas of 32 pixels of world `mini`",
        ),
        (
            &["model=", "model.world_clip.heads=3"],
            "`model.world_clip.heads`: dim = 128 is not divisible",
        ),
        (
            &["model=", "model.preference.patch=64"],
            "`model.preference.patch`, `world.preset`",
        ),
        (
            &["events.evaluate_every=5"],
            "a pretraining has no periodic evaluation",
        ),
    ] {
        let error = pretrain(overrides).expect_err(message);
        assert!(error.contains(message), "{error}");
    }
    pretrain(&["model.teacher.patch=64", "world.preset=geneval"]).expect("one patch of 64 pixels");
}

#[test]
fn warnings_name_what_will_not_happen() {
    let cosine = "method.dmdr.dm.real_scale={ cosine = { from = 1.5, to = 0.0, over = 600 } }";
    let late = "method.dmdr.rl.weight={ step = { from = 0.0, to = 0.3, at = 500 } }";
    let warnings = experiment(&[cosine, late, "events.sample_every=501"])
        .expect("valid")
        .warnings();
    for (warning, expected) in warnings.iter().zip([
        "reaches 1.5, above `fake_score.scale` = 1",
        "`method.dmdr.rl.weight` is 0 for all 500 updates",
        "`method.dmdr.dm.real_scale` is annealed over 600 updates",
        "`events.sample_every` = 501 is above `method.dmdr.num_updates` = 500",
    ]) {
        assert!(warning.contains(expected), "{warning}");
    }
    assert_eq!(warnings.len(), 4, "{warnings:?}");

    let lr = "optim.lr={ warmup_cosine = { peak = 1e-3, warmup = 5, total = 200, end = 0.0 } }";
    let warnings = pretrain(&[lr]).expect("valid").warnings();
    assert!(
        warnings[0].contains("annealed over 200 updates, but `num_updates` is 100"),
        "{warnings:?}"
    );
}

#[test]
fn a_method_says_what_it_cannot_use() {
    let method = |table: &str| {
        let method = format!("method={{ {table} }}");
        let optim = "optim={ student = { lr = 1e-4 }, fake_score = { lr = 1e-4 }, discriminator = { lr = 1e-4 } }";
        experiment(&[&method, optim, "rewards="])
    };
    let gan = |blocks: &str| method(&format!("dmd2 = {{ gan = {{ blocks = {blocks} }} }}"));
    for blocks in ["[]", "[2, 2]", "[3, 1]"] {
        let error = gan(blocks).expect_err("no blocks");
        assert!(error.contains("`method.dmd2.gan.blocks`"), "{error}");
    }
    gan("[0, 3]").expect("ascending");
    let error = method("dmd2 = { gan = { dim = 65537 } }").expect_err("too wide");
    assert!(error.contains("a width of 1 to 65536"), "{error}");
    let idle = method("dmd2 = { gan = { weight = 0.0 } }").expect("allowed");
    let expected = "the discriminator is trained for nothing";
    assert!(idle.warnings()[0].contains(expected), "{idle:?}");

    let lcm = |sets: &[&str]| {
        let student = "optim={ student = { lr = 1e-4 } }";
        experiment(&[&["method={ lcm = {} }", student], sets].concat())
    };
    let error = lcm(&[]).expect_err("a reward for nothing");
    assert!(error.contains("this method trains on none"), "{error}");
    let warnings = lcm(&["rewards=", "fake_score.rank=8"])
        .expect("allowed")
        .warnings();
    assert!(
        warnings[0].contains("`fake_score` is not used"),
        "{warnings:?}"
    );
    for (old, new) in [("generator", "student"), ("score", "fake_score")] {
        let error = experiment(&[&format!("optim.{old}.lr=1e-4")]).expect_err("an old name");
        assert!(
            error.contains(&format!("it is called `{new}` now")),
            "{error}"
        );
    }
}

/// What its method is, only the program knows that brings it.
#[test]
fn rules_of_a_method_of_another_program_are_those_of_its_recipe() {
    let external = "method={ external = { name = 'toy', num_updates = 9, batch_size = 2 } }";
    let experiment = experiment(&[external, "fake_score.rank=8"]).expect("nothing is known of it");
    assert_eq!(experiment.warnings(), Vec::<String>::new());
    let plain = Method::Dmdr(Box::default());
    let error = experiment
        .check_method(plain.recipe())
        .expect_err("a reward for nothing");
    let expected = "no reinforcement learning term to train on them";
    assert!(error.to_string().contains(expected), "{error}");
    let alone = Method::Rl(Box::default());
    let error = experiment
        .check_method(alone.recipe())
        .expect_err("an idle optimiser");
    let error = error.to_string();
    assert!(
        error.contains("trains no `fake_score`") && !error.contains("no reward"),
        "{error}"
    );
}
