//! Samplers whose metrics are known: true scenes, scenes of other prompts, grey.

mod fake;

use dmdr_batches::{Prompts, SceneBatch};
use dmdr_config::Assets;
use dmdr_config::WorldPreset;
use dmdr_eval::{
    EvalError, EvalSet, Evaluation, Evaluator, Measured, Sampler, TrueScenes, compare,
};
use dmdr_events::Environment;
use dmdr_tensor::{Device, Tensor};
use dmdr_world::{Split, World};

use fake::{Make, evaluator, fake, towers, turn, world};

fn set(num_prompts: usize, seeds: &[u64]) -> EvalSet {
    EvalSet {
        split: Split::Validation,
        num_prompts,
        seeds: seeds.to_vec(),
    }
}

fn evaluate(evaluator: &Evaluator, sampler: &dyn Sampler, set: &EvalSet) -> Evaluation {
    evaluator
        .evaluate(sampler, set, &mut |_, _| ())
        .expect("a sound sampler")
}

fn mean(evaluation: &Evaluation, name: &str) -> f64 {
    evaluation.measured.metrics[name].mean
}

/// The scene of the prompt before: right images, wrong prompts.
fn of_other_prompts(world: &World, prompts: &Prompts, _noise: &Tensor) -> Tensor {
    SceneBatch::render(world, prompts, 0.., 0, 0).roll([1], [0])
}

/// Two scenes in one picture: no object is one.
fn fused(world: &World, prompts: &Prompts, noise: &Tensor) -> Tensor {
    let scenes = SceneBatch::render(world, prompts, 0.., 0, 0);
    (&scenes + of_other_prompts(world, prompts, noise)) * 0.5
}

fn grey(_world: &World, _prompts: &Prompts, noise: &Tensor) -> Tensor {
    noise * 0.01 + 0.2
}

#[test]
fn true_scenes_are_right_and_those_of_other_prompts_wrong() {
    let _turn = turn();
    let evaluator = evaluator().keep_images(2);
    let set = set(72, &[3, 5]);
    let mut told = Vec::new();
    let right = evaluator
        .evaluate(&TrueScenes::new(world()), &set, &mut |done, total| {
            told.push((done, total));
        })
        .expect("scenes render");
    assert_eq!(told, [(64, 144), (72, 144), (136, 144), (144, 144)]);
    assert!(
        mean(&right, "geneval/overall") > 0.98,
        "{:?}",
        right.measured.metrics
    );
    assert_eq!(right.measured.metrics["geneval/overall"].per_seed.len(), 2);
    assert_eq!(right.measured.metrics["diversity"].per_seed.len(), 1);
    assert!(mean(&right, "diversity") > 0.0);
    assert_eq!((right.scores.len(), right.images.len()), (144, 4));
    assert!(
        right
            .scores
            .iter()
            .all(|score| score.correct == score.reason.is_empty())
    );

    let wrong = evaluate(&evaluator, &fake("other", of_other_prompts), &set);
    assert!(
        mean(&wrong, "geneval/overall") < 0.2,
        "{:?}",
        wrong.measured.metrics
    );
    assert!(
        mean(&wrong, "diversity").abs() < 1e-6,
        "the same image for every seed"
    );
    let formed = |evaluation: &Evaluation| mean(evaluation, "well_formed");
    assert!(
        formed(&right) > 0.98 && formed(&wrong) > 0.98,
        "whatever the prompt"
    );
    let fused = evaluate(&evaluator, &fake("fused", fused), &set);
    assert!(formed(&fused) < 0.2, "{:?}", fused.measured.metrics);
    let grey = evaluate(&evaluator, &fake("grey", grey), &set);
    assert!(mean(&grey, "geneval/overall") < 1e-9);
    // The distance sees the images, not the prompts they are for.
    let frechet = |evaluation| mean(evaluation, "world_frechet");
    assert!(
        frechet(&right) < 0.1 * frechet(&grey),
        "{} {}",
        frechet(&right),
        frechet(&grey)
    );
    assert!(
        frechet(&wrong) < 0.1 * frechet(&grey),
        "{} {}",
        frechet(&wrong),
        frechet(&grey)
    );

    let comparison = compare(&right, &wrong).expect("one set");
    let overall = comparison.intervals["geneval/overall"];
    assert!(overall.is_significant() && overall.low > 0.7, "{overall:?}");
    let difference = &comparison.differences["geneval/overall"];
    assert!((difference.mean - overall.mean).abs() < 1e-9);
    let same = compare(&right, &right).expect("one set");
    assert!(
        same.intervals
            .values()
            .all(|interval| !interval.is_significant())
    );
    assert!(
        same.differences
            .values()
            .all(|difference| difference.mean == 0.0)
    );
}

#[test]
fn evaluations_are_reproducible_and_survive_files() {
    let _turn = turn();
    let evaluator = evaluator();
    // Draws noise of its own, as renoising samplers do.
    let sampler = fake("stochastic", |_, _, noise| {
        (noise + noise.randn_like()).sigmoid()
    });
    let first = evaluate(&evaluator, &sampler, &set(12, &[0]));
    evaluate(&evaluator, &sampler, &set(6, &[9]));
    let again = evaluate(&evaluator, &sampler, &set(12, &[0]));
    assert_eq!(
        (&first.scores, &first.measured.metrics),
        (&again.scores, &again.measured.metrics)
    );
    assert!(
        !first.measured.metrics.contains_key("diversity"),
        "one seed has no pairs"
    );
    assert_eq!(
        first.measured.means()["world_clip"].to_bits(),
        mean(&first, "world_clip").to_bits()
    );
    // Another seed after the first one changes nothing for the first.
    let more = evaluate(&evaluator, &sampler, &set(12, &[0, 1]));
    assert_eq!(more.scores[..12], first.scores);
    assert!(matches!(
        compare(&first, &more),
        Err(EvalError::NotPaired { .. })
    ));

    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("evaluation.json");
    first.write(&path).expect("a temporary file");
    let read = <Evaluation>::read(&path).expect("just written");
    assert_eq!(read.scores, first.scores);
    let expected = Measured {
        images_per_second: read.measured.images_per_second, // the last bit may be lost
        ..first.measured.clone()
    };
    assert_eq!(read.measured, expected);
    assert!(matches!(
        <Evaluation>::read(folder.path()),
        Err(EvalError::Read { .. })
    ));

    let towers = evaluator.towers().clone();
    let environment = Environment {
        commit: "abc".into(),
        ..Environment::detect()
    };
    let report = first
        .measured
        .report("student", "weights".into(), towers, &environment);
    assert_eq!(
        (report.what.as_str(), report.commit.as_str()),
        ("student", "abc")
    );
    assert_eq!(
        (report.split.as_str(), report.num_prompts),
        ("validation", 12)
    );
    assert_eq!(
        (report.num_evaluations, report.guidance.to_bits()),
        (4, 3.0_f64.to_bits())
    );
    assert!(report.images_per_second > 0.0);
}

#[test]
fn broken_samplers_and_foreign_towers_are_errors() {
    let _turn = turn();
    let evaluator = evaluator();
    let attempt = |make: Make| {
        let sampler = fake("broken", make);
        evaluator
            .evaluate(&sampler, &set(6, &[0]), &mut |_, _| ())
            .expect_err("a broken sampler")
    };
    let nan = attempt(|_, _, noise| noise * f64::NAN);
    assert!(
        matches!(
            nan,
            EvalError::NotFinite {
                seed: 0,
                first: 0,
                ..
            }
        ),
        "{nan}"
    );
    let small = attempt(|_, _, noise| noise.narrow(2, 0, 8));
    assert!(
        small
            .to_string()
            .contains("[6, 3, 8, 32]; expected [6, 3, 32, 32]"),
        "{small}"
    );

    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("towers");
    towers(&world(), 0, &path);
    let assets = Assets {
        world_clip: path.clone(),
        preference: path.clone(),
        preference_heldout: path,
    };
    let larger = World::new(WorldPreset::Geneval).expect("valid drawings");
    let error = Evaluator::load(larger, &assets, Device::Cpu).expect_err("another world");
    assert!(
        matches!(
            error,
            EvalError::OtherWorld {
                what: "vocabulary",
                ..
            }
        ),
        "{error}"
    );
}
