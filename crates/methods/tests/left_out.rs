//! Samples that a reward leaves out: what is learnt is what would be learnt if they had not been drawn.

mod tiny;

use std::collections::BTreeMap;

use dmdr_batches::Prompts;
use dmdr_config::{Curve, Dpo, Groups, Grpo, NetId, RlAlgorithm};
use dmdr_diffusion::{Schedule, loss, time_grid};
use dmdr_methods::{
    Rollout, Share,
    rl::{Counted, Group, RlTerm},
};
use dmdr_rewards::{RewardError, RewardMix, RewardModel};
use dmdr_tensor::{Device, Kind, Numbers, Tensor, reseed};
use tiny::{Tiny, cond, gradients, largest, part, prompts};

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
    RlTerm::new(part(algorithm), mix(holes), time_grid(3, 1.0), schedule).expect("fits")
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

/// Networks, and a rollout of their student.
struct Scene {
    tiny: Tiny,
    rollout: Rollout,
}

impl Scene {
    fn new() -> Self {
        let tiny = Tiny::new();
        let cond = cond();
        reseed(&[5]);
        let options = (Kind::Float, Device::Cpu);
        let x_t = Tensor::randn([4, 3, 8, 8], options);
        let rollout = Rollout {
            prompts: prompts(),
            cond,
            x0: x_t.shallow_clone(),
            t: Tensor::ones([4], options),
            x_t,
            share: Share::WHOLE,
        };
        Self { tiny, rollout }
    }

    /// The same samples whatever the term leaves out, and what is logged of them.
    fn group(&mut self, term: &RlTerm) -> (Group, BTreeMap<String, f64>) {
        let mut update = self.tiny.at(0, 0);
        reseed(&[6]);
        let group = term.group(&mut update, &self.rollout).expect("scored");
        let numbers = update.finish().expect("finite");
        (group.expect("it compares samples"), numbers)
    }

    /// Moves the student away from that which sampled.
    fn disturb(&self) {
        reseed(&[7]);
        self.tiny.disturb(NetId::STUDENT);
    }

    fn loss(&mut self, term: &RlTerm, group: &Group) -> (Tensor, BTreeMap<String, f64>) {
        let (update, r) = (self.tiny.at(0, 0), &self.rollout);
        reseed(&[8]);
        let found = term.loss(&update, &r.x0, r, Some(group)).expect("a loss");
        (found.loss, found.numbers.read())
    }

    fn gradients(&self, loss: &Tensor) -> Vec<Tensor> {
        gradients(&self.tiny.nets, NetId::STUDENT, loss)
    }
}

/// The samples `rows` of `group` alone, `size` of each of its prompts.
fn narrowed(group: &Group, rows: &[i64], size: i64) -> Group {
    let rows = Tensor::from_slice(rows);
    let select = |x: &Tensor| x.index_select(0, &rows);
    let x0 = select(&group.x0);
    let scored = mix(Vec::new()).score(&x0, &prompts(), 0).expect("scored");
    let (_, reward) = &scored.parts[0];
    let advantages = loss::advantages(&reward.reshape([-1, size]));
    Group {
        counted: Counted::of(Share::WHOLE, &advantages, None),
        cond: group.cond.select(&rows),
        states: group.states.iter().map(select).collect(),
        log_probs: group.log_probs.iter().map(select).collect(),
        advantages,
        x0,
        present: None,
        numbers: Numbers::default(),
    }
}

fn difference(a: &Tensor, b: &Tensor) -> f64 {
    largest(&(a - b))
}

#[test]
fn the_others_of_a_group_are_compared_as_if_it_had_not_been_drawn() {
    for algorithm in [grpo(), dpo()] {
        // The second sample of the first two prompts, the last of the others: five are left of each.
        let holes = vec![1, 7, 17, 23];
        let rows: Vec<i64> = (0..24).filter(|row| !holes.contains(row)).collect();
        let mut scene = Scene::new();
        let (holed, plain) = (term(algorithm, holes), term(algorithm, Vec::new()));
        let (left, numbers) = scene.group(&holed);
        assert!((numbers["rl/left_out"] - 4.0).abs() < 1e-9);
        assert!((numbers["reward/holes/missing"] - 4.0).abs() < 1e-9);
        let expected = narrowed(&scene.group(&plain).0, &rows, 5);
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
            let scale = largest(&wanted).max(1.0);
            assert!(difference(&found, &wanted) < 1e-3 * scale);
        }
    }
}

#[test]
fn a_group_with_fewer_than_two_is_left_out_and_the_mean_is_over_what_is_left() {
    // All of the first prompt, all but one of the second.
    let holes: Vec<i64> = (0..11).collect();
    let rows: Vec<i64> = (12..24).collect();
    let mut scene = Scene::new();
    let (holed, plain) = (term(grpo(), holes.clone()), term(grpo(), Vec::new()));
    let (left, numbers) = scene.group(&holed);
    assert!((numbers["rl/left_out"] - 12.0).abs() < 1e-9);
    assert!((numbers["reward/holes/missing"] - 11.0).abs() < 1e-9);
    let expected = narrowed(&scene.group(&plain).0, &rows, 6);
    let pairs = term(dpo(), holes);
    let (left_of_pairs, _) = scene.group(&pairs);
    scene.disturb();
    let (found, _) = scene.loss(&holed, &left);
    let (wanted, _) = scene.loss(&plain, &expected);
    assert!(wanted.double_value(&[]).abs() > 1e-4, "{wanted:?}");
    assert!(difference(&found, &wanted) < 1e-4, "{found:?} {wanted:?}");
    let (_, numbers) = scene.loss(&pairs, &left_of_pairs);
    assert!((numbers["rl/pairs"] - 2.0).abs() < 1e-9);
}

#[test]
fn without_any_score_nothing_is_learnt() {
    for algorithm in [grpo(), dpo()] {
        let mut scene = Scene::new();
        let term = term(algorithm, (0..24).collect());
        let (group, numbers) = scene.group(&term);
        assert!((numbers["rl/left_out"] - 24.0).abs() < 1e-9);
        scene.disturb();
        let (loss, _) = scene.loss(&term, &group);
        assert!(loss.double_value(&[]).abs() < f64::MIN_POSITIVE);
        for gradient in scene.gradients(&loss) {
            assert!(largest(&gradient) < f64::MIN_POSITIVE);
        }
    }
}
