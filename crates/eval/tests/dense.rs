//! Dense prompts with samplers whose answers are known.

use dmdr_batches::{Prompts, images_to_tensor};
use dmdr_config::WorldPreset;
use dmdr_eval::{DenseEvaluator, EvalError, EvalSet, Sampler};
use dmdr_image::Image;
use dmdr_tensor::{Device, Tensor};
use dmdr_world::{Split, World};

const MAX_TOKENS: usize = 64;

/// True dense scenes of the set, each at `shift` places from its own prompt.
struct Scenes {
    world: World,
    set: EvalSet,
    shift: usize,
}

impl Sampler for Scenes {
    fn sample(&self, prompts: &Prompts, _noise: &Tensor) -> Result<Tensor, EvalError> {
        let mut dense = self.set.dense_prompts(&self.world);
        let captions = prompts
            .scenes()
            .prompts
            .iter()
            .map(|prompt| &prompt.caption);
        assert!(
            captions.eq(dense.iter().map(|prompt| &prompt.caption)),
            "one batch, in order"
        );
        dense.rotate_left(self.shift);
        let images: Vec<Image> = dense
            .iter()
            .map(|prompt| self.world.render(&self.world.dense_scene(prompt, 3)))
            .collect();
        Ok(images_to_tensor(&images, Device::Cpu))
    }

    fn num_evaluations(&self) -> usize {
        1
    }

    fn guidance(&self) -> f64 {
        1.0
    }

    fn name(&self) -> &'static str {
        "scenes"
    }
}

#[test]
fn true_dense_scenes_answer_with_yes_and_others_do_not() {
    let world = World::new(WorldPreset::Mini).expect("valid drawings");
    let evaluator = DenseEvaluator::new(world.clone(), MAX_TOKENS, Device::Cpu).keep_images(1);
    let set = EvalSet {
        split: Split::Validation,
        num_prompts: 24,
        seeds: vec![0, 1],
    };
    let evaluate = |shift| {
        let sampler = Scenes {
            world: world.clone(),
            set: set.clone(),
            shift,
        };
        evaluator
            .evaluate(&sampler, &set, &mut |_, _| ())
            .expect("scenes render")
    };
    let right = evaluate(0);
    let names: Vec<&str> = right.measured.metrics.keys().map(String::as_str).collect();
    let all = ["attribute", "count", "entity", "overall", "relation"];
    assert_eq!(names, all.map(|name| format!("dense/{name}")));
    for (name, statistic) in &right.measured.metrics {
        assert!(
            statistic.mean > 0.98 && statistic.per_seed.len() == 2,
            "{name} {statistic:?}"
        );
    }
    assert_eq!((right.scores.len(), right.images.len()), (48, 2));
    let wrong = evaluate(1);
    assert!(
        wrong.measured.metrics["dense/overall"].mean < 0.5,
        "{:?}",
        wrong.measured.metrics
    );
    // A category counts answers on their own; the score also asks for their parents.
    for score in &wrong.scores {
        let yes = score.answers.iter().filter(|(_, is_yes)| *is_yes).count();
        assert!(
            score.score <= yes as f64 / score.answers.len() as f64 + 1e-6,
            "{score:?}"
        );
    }
}

#[test]
fn captions_that_do_not_fit_are_an_error() {
    let world = World::new(WorldPreset::Mini).expect("valid drawings");
    let set = EvalSet {
        split: Split::Validation,
        num_prompts: 2,
        seeds: vec![0],
    };
    let sampler = Scenes {
        world: world.clone(),
        set: set.clone(),
        shift: 0,
    };
    let evaluator = DenseEvaluator::new(world, 16, Device::Cpu);
    let error = evaluator
        .evaluate(&sampler, &set, &mut |_, _| ())
        .expect_err("too long");
    assert!(
        error.to_string().contains("the text tower takes 16"),
        "{error}"
    );
}
