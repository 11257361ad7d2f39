//! The reinforcement learning terms on tiny networks, against closed forms.

mod tiny;

use dmdr_config::{
    Curve, Dmdr as DmdrConfig, Dpo, Groups, Grpo, ReinforcementLearning, RlAlgorithm,
    RlOnly as RlOnlyConfig, StepWeighting, Transition,
};
use dmdr_data::{PromptStream, Prompts};
use dmdr_diffusion::{Parameterization, Schedule, time_grid};
use dmdr_methods::{
    Dmdr, Generator, Losses, Method, MethodError, RlOnly, Roles, Rollout, StepInfo, TrueImages,
    rl::{Group, RlTerm, refl},
};
use dmdr_models::{Call, Conditioning, Denoiser};
use dmdr_rewards::{RewardError, RewardMix, RewardModel};
use dmdr_tensor::{AdamW, AdamWConfig, Device, Kind, Tensor, no_grad_guard, reseed};
use dmdr_world::{Preset, World};
use tiny::{Tiny, cond, values};

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

fn method(algorithm: RlAlgorithm) -> (RlOnly, Tiny) {
    let (roles, tiny) = Tiny::new();
    let times = time_grid(3, 1.0);
    let differentiable = algorithm == RlAlgorithm::Refl;
    let rl = RlTerm::new(algorithm, mix(differentiable), times.clone(), FLOW).expect("fits");
    let config = RlOnlyConfig {
        algorithm,
        ..RlOnlyConfig::default()
    };
    let world = World::new(Preset::Mini).expect("valid drawings");
    let images = TrueImages { world, seed: 0 };
    let method = RlOnly::new(config, times, roles, rl, Some(images), [3, 8, 8]);
    (method, tiny)
}

fn prompts() -> Prompts {
    let world = World::new(Preset::Mini).expect("valid drawings");
    PromptStream::training(&world, 0)
        .prompts(0, 4, 16, Device::Cpu)
        .expect("fits")
}

fn rollout(method: &RlOnly, seed: u64) -> (Rollout, Option<Group>) {
    let cond = cond();
    reseed(&[seed]);
    let rollout = method
        .rollout(prompts(), cond, &StepInfo::at(0))
        .expect("a rollout");
    let group = method.group(&rollout, &StepInfo::at(0)).expect("scored");
    (rollout, group)
}

fn losses(method: &RlOnly, rollout: &Rollout, group: Option<&Group>) -> Losses {
    reseed(&[9]);
    method
        .generator_losses(rollout, group, &StepInfo::at(0))
        .expect("a loss")
}

fn value(losses: &Losses) -> f64 {
    losses.total().double_value(&[])
}

/// Moves every parameter of the student a little.
fn disturb(tiny: &Tiny) {
    let _guard = no_grad_guard();
    for tensor in tiny.student.group().tensors {
        let moved = &tensor + tensor.randn_like() * 0.05;
        tensor.shallow_clone().copy_(&moved);
    }
}

#[test]
fn an_unchanged_student_has_ratio_one_and_no_divergence() {
    let (method, tiny) = method(grpo(0.1));
    let (rollout, group) = rollout(&method, 3);
    let group = group.expect("GRPO compares samples");
    assert_eq!((group.states.len(), group.log_probs.len()), (3, 2));
    let sums = group
        .advantages
        .sum_dim_intlist(&[1i64][..], false, Kind::Float);
    assert!(sums.abs().max().double_value(&[]) < 1e-4);

    let before = losses(&method, &rollout, Some(&group));
    assert!((before.observed["rl/ratio"] - 1.0).abs() < f64::EPSILON);
    assert!(before.observed["rl/kl"].abs() < f64::MIN_POSITIVE);
    assert!(value(&before).abs() < 1e-5, "minus the mean advantage");

    disturb(&tiny);
    let after = losses(&method, &rollout, Some(&group));
    assert!((after.observed["rl/ratio"] - 1.0).abs() > 1e-6);
    assert!(after.observed["rl/kl"] > 0.0);
}

#[test]
fn equal_models_have_a_dpo_loss_of_ln_2() {
    let (method, tiny) = method(dpo());
    let (rollout, group) = rollout(&method, 3);
    let before = losses(&method, &rollout, group.as_ref());
    assert!((value(&before) - std::f64::consts::LN_2).abs() < 1e-6);
    assert!((before.observed["rl/pairs"] - 4.0).abs() < f64::EPSILON);
    disturb(&tiny);
    let after = losses(&method, &rollout, group.as_ref());
    assert!((value(&after) - std::f64::consts::LN_2).abs() > 1e-4);
}

#[test]
fn a_student_that_is_its_own_reference_has_the_gradient_of_equal_models_wherever_it_is() {
    let gradients = |refresh_every, is_disturbed| {
        let (method, tiny) = method(dpo_refreshed(refresh_every));
        let (rollout, group) = rollout(&method, 3);
        if is_disturbed {
            disturb(&tiny);
            if refresh_every == 0 {
                tiny.reference.copy_from(&tiny.student);
            }
        }
        let losses = losses(&method, &rollout, group.as_ref());
        assert!((value(&losses) - std::f64::consts::LN_2).abs() < 1e-6);
        let student = tiny.student.group().tensors;
        Tensor::run_backward(&[losses.total()], &student, false, false)
    };
    for is_disturbed in [false, true] {
        let own = gradients(1, is_disturbed);
        let equal = gradients(0, is_disturbed);
        assert!(own.iter().any(|g| g.abs().max().double_value(&[]) > 0.0));
        for (own, equal) in own.iter().zip(&equal) {
            assert!((own - equal).abs().max().double_value(&[]) < 1e-6);
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
    let term = |algorithm| RlTerm::new(algorithm, mix(false), time_grid(2, 1.0), FLOW);
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
        RlTerm::new(algorithm, mix(true), times, Schedule::ScaledLinear)
    };
    for algorithm in [dpo(), grpo(0.0)] {
        let error = term(algorithm).expect_err("written for the rectified flow");
        assert!(matches!(error, MethodError::Schedule { .. }), "{error}");
    }
    assert!(term(RlAlgorithm::Refl).is_ok());
}

#[test]
fn the_reference_is_taken_where_it_is_needed_and_anew_if_asked_for() {
    let takes = |algorithm, update| method(algorithm).0.takes_reference(&StepInfo::at(update));
    assert!(takes(dpo(), 0) && takes(grpo(0.1), 0));
    assert!(!takes(dpo_refreshed(1), 0) && !takes(dpo_refreshed(1), 40));
    let taken: Vec<u64> = (0..100)
        .filter(|&update| takes(dpo_refreshed(40), update))
        .collect();
    assert_eq!(taken, [0, 40, 80]);
    assert!(!takes(dpo(), 1) && !takes(grpo(0.0), 0) && !takes(RlAlgorithm::Refl, 0));
}

#[test]
fn beside_distribution_matching_the_reference_is_taken_when_the_term_sets_in() {
    let taken = |refresh_every| -> Vec<u64> {
        let (roles, _) = Tiny::new();
        let (algorithm, times) = (dpo_refreshed(refresh_every), time_grid(3, 1.0));
        let rl = RlTerm::new(algorithm, mix(false), times.clone(), FLOW).expect("fits");
        let config = DmdrConfig {
            rl: Some(ReinforcementLearning {
                weight: Curve::Step {
                    from: 0.0,
                    to: 0.1,
                    at: 25,
                },
                algorithm,
            }),
            ..DmdrConfig::default()
        };
        let method = Dmdr::new(config, times, 1.0, roles, Some(rl), [3, 8, 8]);
        (0..100)
            .filter(|&update| method.takes_reference(&StepInfo::at(update)))
            .collect()
    };
    assert_eq!(taken(0), [25]);
    assert_eq!(taken(40), [25, 40, 80]);
    assert!(taken(1).is_empty(), "the student is its own");
}

/// Trains `tiny` with AdamW for `updates` steps on what `losses` gives for each.
fn train(tiny: &Tiny, updates: u64, losses: impl Fn(u64) -> Losses) {
    let others = || [&tiny.base, &tiny.score, &tiny.reference].map(values);
    let frozen = others();
    let config = AdamWConfig {
        betas: (0.9, 0.99),
        eps: 1e-8,
        weight_decay: 0.0,
    };
    let mut adamw = AdamW::new(tiny.student.group(), config);
    for update in 0..updates {
        let total = losses(update).total();
        let grads = adamw.group().grads(&total).expect("reaches the student");
        adamw.step(&grads, 3e-3).expect("stepped");
    }
    assert_eq!(others(), frozen, "only the student learns");
}

/// Mean reward of the student's samples.
fn score(method: &RlOnly) -> f64 {
    let (rollout, _) = rollout(method, 77);
    let mixed = mix(true)
        .score(&rollout.x0, &rollout.prompts, 0)
        .expect("scored");
    mixed.total.mean(Kind::Float).double_value(&[])
}

#[test]
fn refl_raises_its_reward() {
    let (method, tiny) = method(RlAlgorithm::Refl);
    let before = score(&method);
    train(&tiny, 40, |update| {
        let (rollout, group) = rollout(&method, update);
        losses(&method, &rollout, group.as_ref())
    });
    assert!(score(&method) > before + 0.02);
}

/// A student of one parameter: `x0 = x_t / 2 + m`.
struct Shift(Tensor);

impl Denoiser for Shift {
    fn forward(&self, x_t: &Tensor, _: &Tensor, _: &Conditioning, _: &Call<'_>) -> Tensor {
        x_t * 0.5 + &self.0
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::X0
    }
}

#[test]
fn groups_of_grpo_start_from_the_same_noise() {
    let spread = |algorithm: RlAlgorithm| {
        let (_, group) = rollout(&method(algorithm).0, 3);
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
        let roles = Roles {
            generator: Generator::Full(Box::new(Shift(m.shallow_clone()))),
            ..Tiny::new().0
        };
        let rl = RlTerm::new(algorithm, mix(false), time_grid(3, 1.0), FLOW).expect("fits");
        reseed(&[5]);
        let x_t = Tensor::randn([4, 1, 2, 2], (Kind::Float, Device::Cpu));
        let r = Rollout {
            prompts: prompts(),
            cond: cond(),
            x0: x_t.shallow_clone(),
            t: Tensor::ones([4], (Kind::Float, Device::Cpu)),
            x_t,
        };
        let mut group = rl.group(&roles, &r, 0).expect("scored").expect("GRPO");
        group.log_probs.truncate(1);
        let loss = rl.loss(&roles, &r.x0, &r, Some(&group), 0).expect("a loss");
        let gradient = Tensor::run_backward(&[loss.loss], &[&m], false, false).remove(0);
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
        let roles = Roles {
            generator: Generator::Full(Box::new(Shift(m.shallow_clone()))),
            ..Tiny::new().0
        };
        let rl = RlTerm::new(grpo(0.0), mix(false), time_grid(3, 1.0), FLOW).expect("fits");
        let options = (Kind::Float, Device::Cpu);
        for update in 0..60 {
            reseed(&[update]);
            let x_t = Tensor::randn([4, 1, 2, 2], options);
            let r = Rollout {
                prompts: prompts(),
                cond: cond(),
                x0: x_t.shallow_clone(),
                t: Tensor::ones([4], options),
                x_t,
            };
            reseed(&[update, 1]);
            let group = rl.group(&roles, &r, update).expect("scored");
            let loss = rl.loss(&roles, &r.x0, &r, group.as_ref(), update);
            let loss = loss.expect("a loss").loss;
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
    let (method, tiny) = method(dpo());
    let (rollout, group) = rollout(&method, 3);
    train(&tiny, 40, |_| losses(&method, &rollout, group.as_ref()));
    let after = losses(&method, &rollout, group.as_ref());
    assert!(value(&after) < 0.8 * std::f64::consts::LN_2);
    assert!(after.observed["rl/error_better"] < after.observed["rl/error_worse"]);
}
