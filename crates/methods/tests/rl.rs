//! The reinforcement learning terms on tiny networks, against closed forms.

mod tiny;

use std::collections::BTreeMap;

use dmdr_batches::Prompts;
use dmdr_config::{
    Curve, Dpo, Groups, Grpo, Motion, NetId, RlAlgorithm, RlAlone, StepWeighting, Transition,
};
use dmdr_diffusion::{Parameterization, Schedule, time_grid};
use dmdr_methods::{
    Dmdr, Losses, MethodError, Net, Network, Rollout, Share, Update,
    rl::{Group, RlTerm, refl},
};
use dmdr_models::{Call, Conditioning, Denoiser};
use dmdr_rewards::{RewardError, RewardMix, RewardModel};
use dmdr_tensor::{Device, Kind, ParamStore, Tensor, no_grad_guard, reseed};
use tiny::{Tiny, cond, gradients, largest, part, prompts, simulation};

const FLOW: Schedule = Schedule::RectifiedFlow;

/// Minus the squared distance to a grey of one half, times 100: highest for an image without contrast.
struct Grey {
    differentiable: bool,
}

impl RewardModel for Grey {
    fn name(&self) -> &'static str {
        "grey"
    }

    fn is_differentiable(&self) -> bool {
        self.differentiable
    }

    fn score(&self, images: &Tensor, _: &Prompts) -> Result<Tensor, RewardError> {
        let images = if self.differentiable {
            images.shallow_clone()
        } else {
            images.detach()
        };
        let dims: &[i64] = &[1, 2, 3];
        Ok((images - 0.5).square().mean_dim(dims, false, Kind::Float) * -100.0)
    }
}

fn mix(differentiable: bool) -> RewardMix {
    let mut mix = RewardMix::default();
    mix.push(Curve::Constant(1.0), Box::new(Grey { differentiable }));
    mix
}

const GROUPS: Groups = Groups {
    num_prompts: 4,
    size: 16,
};

fn grpo(kl: f64) -> RlAlgorithm {
    RlAlgorithm::Grpo(Grpo {
        groups: GROUPS,
        transition: Transition::CoefficientPreserving(0.9),
        clip: 0.2,
        kl,
        ..Grpo::default()
    })
}

fn dpo() -> RlAlgorithm {
    dpo_refreshed(0)
}

fn dpo_refreshed(refresh_every: u64) -> RlAlgorithm {
    RlAlgorithm::Dpo(Dpo {
        groups: GROUPS,
        beta: 100.0,
        refresh_every,
    })
}

fn term(algorithm: RlAlgorithm) -> RlTerm {
    let differentiable = algorithm == RlAlgorithm::Refl;
    let (rewards, times) = (mix(differentiable), time_grid(3, 1.0));
    RlTerm::new(part(algorithm), rewards, times, FLOW).expect("fits")
}

/// What the student of `tiny` makes, and the group that is compared.
fn rollout(tiny: &mut Tiny, rl: &RlTerm, seed: u64) -> (Rollout, Option<Group>) {
    let mut update = tiny.at(seed, 0);
    let r = simulation(3).run(&mut update).expect("a rollout");
    let group = rl.group(&mut update, &r).expect("scored");
    (r, group)
}

/// The loss of a term, always with the same draws, and what is logged of it.
fn loss(
    update: &Update<'_>,
    rl: &RlTerm,
    r: &Rollout,
    group: Option<&Group>,
) -> (Tensor, BTreeMap<String, f64>) {
    reseed(&[9]);
    let found = rl.loss(update, &r.x0, r, group).expect("a loss");
    (found.loss, found.numbers.read())
}

fn value(loss: &Tensor) -> f64 {
    loss.double_value(&[])
}

#[test]
fn an_unchanged_student_has_ratio_one_and_no_divergence() {
    let (mut tiny, rl) = (Tiny::new(), term(grpo(0.1)));
    let (r, group) = rollout(&mut tiny, &rl, 3);
    let group = group.expect("GRPO compares samples");
    assert_eq!((group.states.len(), group.log_probs.len()), (3, 2));
    let sums = group
        .advantages
        .sum_dim_intlist(&[1i64][..], false, Kind::Float);
    assert!(largest(&sums) < 1e-4);

    let (before, numbers) = loss(&tiny.at(0, 0), &rl, &r, Some(&group));
    assert!((numbers["rl/ratio"] - 1.0).abs() < f64::EPSILON);
    assert!(numbers["rl/kl"].abs() < f64::MIN_POSITIVE);
    assert!(value(&before).abs() < 1e-5, "minus the mean advantage");

    tiny.disturb(NetId::STUDENT);
    let (_, numbers) = loss(&tiny.at(0, 0), &rl, &r, Some(&group));
    assert!((numbers["rl/ratio"] - 1.0).abs() > 1e-6);
    assert!(numbers["rl/kl"] > 0.0);
}

#[test]
fn equal_models_have_a_dpo_loss_of_ln_2() {
    let (mut tiny, rl) = (Tiny::new(), term(dpo()));
    let (r, group) = rollout(&mut tiny, &rl, 3);
    let (before, numbers) = loss(&tiny.at(0, 0), &rl, &r, group.as_ref());
    assert!((value(&before) - std::f64::consts::LN_2).abs() < 1e-6);
    assert!((numbers["rl/pairs"] - 4.0).abs() < f64::EPSILON);
    tiny.disturb(NetId::STUDENT);
    let (after, _) = loss(&tiny.at(0, 0), &rl, &r, group.as_ref());
    assert!((value(&after) - std::f64::consts::LN_2).abs() > 1e-4);
}

#[test]
fn a_student_that_is_its_own_reference_has_the_gradient_of_equal_models_wherever_it_is() {
    let of = |refresh_every, is_disturbed| {
        let (mut tiny, rl) = (Tiny::new(), term(dpo_refreshed(refresh_every)));
        let (r, group) = rollout(&mut tiny, &rl, 3);
        if is_disturbed {
            tiny.disturb(NetId::STUDENT);
            if refresh_every == 0 {
                tiny.at(0, 0).copy(NetId::STUDENT, NetId::REFERENCE);
            }
        }
        let (loss, _) = loss(&tiny.at(0, 0), &rl, &r, group.as_ref());
        assert!((value(&loss) - std::f64::consts::LN_2).abs() < 1e-6);
        gradients(&tiny.nets, NetId::STUDENT, &loss)
    };
    for is_disturbed in [false, true] {
        let own = of(1, is_disturbed);
        let equal = of(0, is_disturbed);
        assert!(own.iter().any(|gradient| largest(gradient) > 0.0));
        for (own, equal) in own.iter().zip(&equal) {
            assert!(largest(&(own - equal)) < 1e-6);
        }
    }
}

#[test]
fn the_refl_gradient_is_that_of_finite_differences() {
    // Through decoding and reward, at a prediction away from the clamp.
    reseed(&[4]);
    let x0 = (Tensor::rand([2, 3, 4, 4], (Kind::Double, Device::Cpu)) - 0.5) * 1.6;
    let prompts = prompts();
    let loss = |x0: &Tensor| refl(x0, &prompts, &mix(true), 0).expect("scored").loss;
    let leaf = x0.detach().set_requires_grad(true);
    let gradient = Tensor::run_backward(&[loss(&leaf)], &[&leaf], false, false).remove(0);
    let h = 1e-3;
    for index in [0, 17, 63, 95] {
        let mut step = Tensor::zeros([96], (Kind::Double, Device::Cpu));
        let _ = step.get(index).fill_(h);
        step = step.reshape([2, 3, 4, 4]);
        let difference =
            (loss(&(&x0 + &step)) - loss(&(&x0 - &step))).double_value(&[]) / (2.0 * h);
        let expected = gradient.reshape([96]).double_value(&[index]);
        assert!(
            (difference - expected).abs() < 1e-3 * (1.0 + expected.abs()),
            "{difference} {expected}"
        );
    }
}

#[test]
fn refl_refuses_a_reward_without_gradient_and_the_others_take_it() {
    let term = |algorithm| RlTerm::new(part(algorithm), mix(false), time_grid(2, 1.0), FLOW);
    assert!(matches!(
        term(RlAlgorithm::Refl),
        Err(MethodError::NotDifferentiable { .. })
    ));
    assert!(term(dpo()).is_ok() && term(grpo(0.0)).is_ok());
}

#[test]
fn trajectories_of_another_schedule_are_refused() {
    let term = |algorithm| {
        let times = time_grid(2, 1.0);
        RlTerm::new(part(algorithm), mix(true), times, Schedule::ScaledLinear)
    };
    for algorithm in [dpo(), grpo(0.0)] {
        let error = term(algorithm).expect_err("written for the rectified flow");
        assert!(matches!(error, MethodError::Schedule { .. }), "{error}");
    }
    assert!(term(RlAlgorithm::Refl).is_ok());
}

#[test]
fn an_update_takes_the_reference_when_it_is_due() {
    let mut tiny = Tiny::new();
    let mut method = alone(dpo_refreshed(2));
    let mut taken = BTreeMap::new();
    for update in 0..4 {
        tiny.disturb(NetId::STUDENT);
        if update % 2 == 0 {
            taken = tiny.values(NetId::STUDENT);
        }
        let _ = tiny.update(&mut method, update);
        assert_eq!(tiny.values(NetId::REFERENCE), taken, "{update}");
    }
}

/// Reinforcement learning without matching.
fn alone(algorithm: RlAlgorithm) -> Dmdr {
    Dmdr::without_matching(&RlAlone::default(), term(algorithm), simulation(3))
}

/// Trains the student for `updates` updates.
fn train(tiny: &mut Tiny, updates: u64, mut update: impl FnMut(&mut Tiny, u64)) {
    let others = |tiny: &Tiny| {
        let [score, reference] = [NetId::FAKE_SCORE, NetId::REFERENCE].map(|id| tiny.values(id));
        [tiny.frozen(), score, reference]
    };
    let frozen = others(tiny);
    for index in 0..updates {
        update(tiny, index);
    }
    assert_eq!(others(tiny), frozen, "only the student learns");
}

/// Mean reward of the student's samples.
fn score(tiny: &mut Tiny) -> f64 {
    let r = simulation(3).run(&mut tiny.at(77, 0)).expect("a rollout");
    let mixed = mix(true).score(&r.x0, &r.prompts, 0).expect("scored");
    mixed.total.mean(Kind::Float).double_value(&[])
}

#[test]
fn refl_raises_its_reward() {
    let mut tiny = Tiny::new();
    let before = score(&mut tiny);
    let mut method = alone(RlAlgorithm::Refl);
    train(&mut tiny, 40, |tiny, update| {
        let _ = tiny.update(&mut method, update);
    });
    assert!(score(&mut tiny) > before + 0.02);
}

/// A student of one parameter: `x0 = x_t / 2 + m`.
struct Shift(Tensor);

impl Shift {
    /// Networks with the student of `m`.
    fn nets(m: &Tensor) -> Tiny {
        let store = ParamStore::trainable(Device::Cpu, 0);
        let student = Network::Full(Box::new(Self(m.shallow_clone())));
        Tiny::with(vec![Net::new(
            NetId::STUDENT,
            store,
            student,
            Motion::Trained,
        )])
    }
}

impl Denoiser for Shift {
    fn forward(&self, x_t: &Tensor, _: &Tensor, _: &Conditioning, _: &Call<'_>) -> Tensor {
        x_t * 0.5 + &self.0
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::X0
    }
}

/// Four images of a channel: all that groups ask of a rollout.
fn pure_noise() -> Rollout {
    let cond = cond();
    let options = (Kind::Float, Device::Cpu);
    let x_t = Tensor::randn([4, 1, 2, 2], options);
    Rollout {
        prompts: prompts(),
        cond,
        x0: x_t.shallow_clone(),
        t: Tensor::ones([4], options),
        x_t,
        share: Share::WHOLE,
    }
}

#[test]
fn groups_of_grpo_start_from_the_same_noise() {
    let spread = |algorithm: RlAlgorithm| {
        let (_, group) = rollout(&mut Tiny::new(), &term(algorithm), 3);
        let start = &group.expect("compares samples").states[0];
        let groups = start.reshape([GROUPS.num_prompts as i64, GROUPS.size as i64, -1]);
        let of = |dim: i64| {
            let std = groups.std_dim(&[dim][..], false, false);
            std.mean(Kind::Float).double_value(&[])
        };
        (of(0), of(1)) // between groups, within them
    };
    let (between, within) = spread(grpo(0.0));
    assert!(between > 0.5 && within < 1e-6, "{between} {within}");
    let (_, within) = spread(dpo());
    assert!(within > 0.5, "{within}");
}

#[test]
fn the_weight_of_a_step_reaches_its_gradient() {
    // With the first of two stochastic steps alone, from t' = 2/3: its share of the variance is 4/5, its weight 8/5.
    let gradient = |step_weighting: StepWeighting| {
        let RlAlgorithm::Grpo(config) = grpo(0.0) else {
            unreachable!("GRPO")
        };
        let algorithm = RlAlgorithm::Grpo(Grpo {
            step_weighting,
            ..config
        });
        let m = Tensor::from_slice(&[0.3f32]).set_requires_grad(true);
        let (mut tiny, rl) = (Shift::nets(&m), term(algorithm));
        let r = pure_noise();
        reseed(&[5]);
        let group = rl.group(&mut tiny.at(0, 0), &r).expect("scored");
        let mut group = group.expect("GRPO compares samples");
        group.log_probs.truncate(1);
        let (loss, _) = loss(&tiny.at(0, 0), &rl, &r, Some(&group));
        let gradient = Tensor::run_backward(&[loss], &[&m], false, false).remove(0);
        gradient.double_value(&[0])
    };
    let uniform = gradient(StepWeighting::Uniform);
    assert!(uniform.abs() > 1e-6, "{uniform}");
    let ratio = gradient(StepWeighting::Variance) / uniform;
    assert!((ratio - 1.6).abs() < 1e-5, "{ratio}");
}

#[test]
fn grpo_finds_the_best_mean() {
    // Samples are N(c m, s^2) with c > 1, and grey is best: m goes to 0 from either side.
    for start in [-0.4, 0.4] {
        let m = Tensor::from_slice(&[start as f32]).set_requires_grad(true);
        let (mut tiny, rl, r) = (Shift::nets(&m), term(grpo(0.0)), pure_noise());
        for index in 0..60 {
            let mut update = tiny.at(0, index);
            reseed(&[index, 1]);
            let group = rl.group(&mut update, &r).expect("scored");
            let (loss, _) = loss(&update, &rl, &r, group.as_ref());
            let gradient = Tensor::run_backward(&[loss], &[&m], false, false).remove(0);
            let _guard = no_grad_guard();
            m.shallow_clone().copy_(&(&m - gradient * 0.05));
        }
        let end = m.double_value(&[0]);
        assert!(end.abs() < 0.15, "{start} -> {end}");
    }
}

#[test]
fn dpo_learns_to_tell_the_better_image() {
    // A random network is no denoiser, so what can be asked is that the implicit reward learns the ranking.
    let (mut tiny, rl) = (Tiny::new(), term(dpo()));
    let (r, group) = rollout(&mut tiny, &rl, 3);
    train(&mut tiny, 40, |tiny, update| {
        let mut update = tiny.at(0, update);
        let losses = |update: &Update<'_>, _| {
            let mut losses = Losses::default();
            losses.add("rl", 1.0, loss(update, &rl, &r, group.as_ref()).0);
            Ok(losses)
        };
        update.minimise(NetId::STUDENT, losses).expect("a step");
        let _ = update.finish().expect("finite");
    });
    let (after, numbers) = loss(&tiny.at(0, 0), &rl, &r, group.as_ref());
    assert!(value(&after) < 0.8 * std::f64::consts::LN_2);
    assert!(numbers["rl/error_better"] < numbers["rl/error_worse"]);
}
