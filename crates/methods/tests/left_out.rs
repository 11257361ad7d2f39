//! Samples that a reward leaves out: what is learnt is what would be learnt if they had not been drawn.

mod tiny;

use dmdr_config::{Curve, Dpo, Groups, Grpo, RlAlgorithm};
use dmdr_data::{PromptStream, Prompts};
use dmdr_diffusion::{Schedule, loss, time_grid};
use dmdr_methods::{
    Roles, Rollout,
    rl::{Group, RlTerm},
};
use dmdr_rewards::{RewardError, RewardMix, RewardModel};
use dmdr_tensor::{Device, Kind, Tensor, no_grad_guard, reseed};
use dmdr_world::{Preset, World};
use tiny::{Tiny, cond};

const GROUPS: Groups = Groups {
    num_prompts: 4,
    size: 6,
};

/// Mean of the pixels; none for some samples.
struct Holes(Vec<i64>);

impl RewardModel for Holes {
    fn name(&self) -> &'static str {
        "holes"
    }

    fn is_differentiable(&self) -> bool {
        false
    }

    fn may_leave_out(&self) -> bool {
        true
    }

    fn score(&self, images: &Tensor, _: &Prompts) -> Result<Tensor, RewardError> {
        let dims: &[i64] = &[1, 2, 3];
        let score = images.detach().mean_dim(dims, false, Kind::Float);
        for row in &self.0 {
            let _ = score.get(*row).fill_(f64::NAN);
        }
        Ok(score)
    }
}

fn mix(holes: Vec<i64>) -> RewardMix {
    let mut mix = RewardMix::default();
    mix.push(Curve::Constant(1.0), Box::new(Holes(holes)));
    mix
}

fn term(algorithm: RlAlgorithm, holes: Vec<i64>) -> RlTerm {
    let schedule = Schedule::RectifiedFlow;
    RlTerm::new(algorithm, mix(holes), time_grid(3, 1.0), schedule).expect("fits")
}

fn grpo() -> RlAlgorithm {
    RlAlgorithm::Grpo(Grpo {
        groups: GROUPS,
        kl: 0.1,
        ..Grpo::default()
    })
}

fn dpo() -> RlAlgorithm {
    RlAlgorithm::Dpo(Dpo {
        groups: GROUPS,
        beta: 100.0,
        refresh_every: 0,
    })
}

fn prompts() -> Prompts {
    let world = World::new(Preset::Mini).expect("valid drawings");
    let stream = PromptStream::training(&world, 0);
    stream.prompts(0, 4, 16, Device::Cpu).expect("fits")
}

/// Networks whose student has moved since `group` was sampled, and the rollout.
struct Scene {
    roles: Roles,
    tiny: Tiny,
    rollout: Rollout,
}

impl Scene {
    fn new() -> Self {
        let (roles, tiny) = Tiny::new();
        reseed(&[5]);
        let options = (Kind::Float, Device::Cpu);
        let x_t = Tensor::randn([4, 3, 8, 8], options);
        let rollout = Rollout {
            prompts: prompts(),
            cond: cond(),
            x0: x_t.shallow_clone(),
            t: Tensor::ones([4], options),
            x_t,
        };
        Self {
            roles,
            tiny,
            rollout,
        }
    }

    /// The same samples whatever the term leaves out.
    fn group(&self, term: &RlTerm) -> Group {
        reseed(&[6]);
        let group = term.group(&self.roles, &self.rollout, 0).expect("scored");
        group.expect("it compares samples")
    }

    fn disturb(&self) {
        let _guard = no_grad_guard();
        reseed(&[7]);
        for tensor in self.tiny.student.group().tensors {
            let moved = &tensor + tensor.randn_like() * 0.05;
            tensor.shallow_clone().copy_(&moved);
        }
    }

    fn loss(&self, term: &RlTerm, group: &Group) -> (Tensor, f64) {
        reseed(&[8]);
        let r = &self.rollout;
        let found = term
            .loss(&self.roles, &r.x0, r, Some(group), 0)
            .expect("a loss");
        let pairs = found.observed.get("rl/pairs").copied();
        (found.loss, pairs.unwrap_or(f64::NAN))
    }

    fn gradients(&self, loss: &Tensor) -> Vec<Tensor> {
        let student = self.tiny.student.group().tensors;
        Tensor::run_backward(&[loss], &student, false, false)
    }
}

/// The samples `rows` of `group` alone, `size` of each of its prompts.
fn narrowed(group: &Group, rows: &[i64], size: i64) -> Group {
    let rows = Tensor::from_slice(rows);
    let select = |x: &Tensor| x.index_select(0, &rows);
    let x0 = select(&group.x0);
    let scored = mix(Vec::new()).score(&x0, &prompts(), 0).expect("scored");
    let (_, reward) = &scored.parts[0];
    Group {
        cond: group.cond.select(&rows),
        states: group.states.iter().map(select).collect(),
        log_probs: group.log_probs.iter().map(select).collect(),
        advantages: loss::advantages(&reward.reshape([-1, size])),
        x0,
        present: None,
        observed: group.observed.clone(),
    }
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn the_others_of_a_group_are_compared_as_if_it_had_not_been_drawn() {
    for algorithm in [grpo(), dpo()] {
        // The second sample of the first two prompts, the last of the others: five are left of each.
        let holes = vec![1, 7, 17, 23];
        let rows: Vec<i64> = (0..24).filter(|row| !holes.contains(row)).collect();
        let scene = Scene::new();
        let (holed, plain) = (term(algorithm, holes), term(algorithm, Vec::new()));
        let left = scene.group(&holed);
        assert!((left.observed["rl/left_out"] - 4.0).abs() < 1e-9);
        assert!((left.observed["reward/holes/missing"] - 4.0).abs() < 1e-9);
        let expected = narrowed(&scene.group(&plain), &rows, 5);
        let advantages = left
            .advantages
            .reshape([-1])
            .index_select(0, &Tensor::from_slice(&rows));
        assert!(difference(&advantages, &expected.advantages.reshape([-1])) < 1e-4);
        let zero = left.advantages.reshape([-1]).get(7).double_value(&[]);
        assert!(zero.abs() < f64::MIN_POSITIVE);

        scene.disturb();
        let (found, _) = scene.loss(&holed, &left);
        let (wanted, _) = scene.loss(&plain, &expected);
        assert!(wanted.double_value(&[]).abs() > 1e-4, "{wanted:?}");
        let scale = wanted.double_value(&[]).abs();
        assert!(
            difference(&found, &wanted) < 1e-4 * scale.max(1.0),
            "{found:?} {wanted:?}"
        );
        let pairs = scene
            .gradients(&found)
            .into_iter()
            .zip(scene.gradients(&wanted));
        for (found, wanted) in pairs {
            let scale = wanted.abs().max().double_value(&[]).max(1.0);
            assert!(difference(&found, &wanted) < 1e-3 * scale);
        }
    }
}

#[test]
fn a_group_with_fewer_than_two_is_left_out_and_the_mean_is_over_what_is_left() {
    // All of the first prompt, all but one of the second.
    let holes: Vec<i64> = (0..11).collect();
    let rows: Vec<i64> = (12..24).collect();
    let scene = Scene::new();
    let (holed, plain) = (term(grpo(), holes.clone()), term(grpo(), Vec::new()));
    let left = scene.group(&holed);
    assert!((left.observed["rl/left_out"] - 12.0).abs() < 1e-9);
    assert!((left.observed["reward/holes/missing"] - 11.0).abs() < 1e-9);
    let expected = narrowed(&scene.group(&plain), &rows, 6);
    let pairs = term(dpo(), holes);
    let left_of_pairs = scene.group(&pairs);
    scene.disturb();
    let (found, _) = scene.loss(&holed, &left);
    let (wanted, _) = scene.loss(&plain, &expected);
    assert!(wanted.double_value(&[]).abs() > 1e-4, "{wanted:?}");
    assert!(difference(&found, &wanted) < 1e-4, "{found:?} {wanted:?}");
    let (_, num_pairs) = scene.loss(&pairs, &left_of_pairs);
    assert!((num_pairs - 2.0).abs() < 1e-9);
}

#[test]
fn without_any_score_nothing_is_learnt() {
    for algorithm in [grpo(), dpo()] {
        let scene = Scene::new();
        let term = term(algorithm, (0..24).collect());
        let group = scene.group(&term);
        assert!((group.observed["rl/left_out"] - 24.0).abs() < 1e-9);
        scene.disturb();
        let (loss, _) = scene.loss(&term, &group);
        assert!(loss.double_value(&[]).abs() < f64::MIN_POSITIVE);
        for gradient in scene.gradients(&loss) {
            assert!(gradient.abs().max().double_value(&[]) < f64::MIN_POSITIVE);
        }
    }
}
