//! Loss terms by themselves, against their formulas on the same draws.

mod tiny;

use dmdr_config::{
    Augmentation, Curve, DistributionMatching, FakeScoreLoss, NetId, TimeDistribution,
};
use dmdr_diffusion::{loss, sample_times};
use dmdr_methods::{Losses, MethodError, Nets, Network, Rollout, Update, term};
use dmdr_models::{Call, Conditioning};
use dmdr_tensor::{Device, Kind, Tensor, no_grad_guard, reseed};
use tiny::{FAKE_SCORE, Tiny, cond, gradients, largest, simulation};

const FAKE_SCALE: f64 = 1.5;
const REAL_SCALE: f64 = 0.4;
/// Of the tiny teacher.
const GUIDANCE: f64 = 3.0;

/// What a student of two steps makes: inputs at times 1/2 and 1.
fn rollout(tiny: &mut Tiny) -> Rollout {
    simulation(2).run(&mut tiny.at(0, 0)).expect("a rollout")
}

/// `x [4, C, H, W]` on the straight line to fresh noise, at `t [4]`.
fn noised(x: &Tensor, t: &Tensor) -> Tensor {
    let t = t.reshape([4, 1, 1, 1]);
    x * (1.0 - &t) + x.randn_like() * t
}

#[track_caller]
fn close(got: &Tensor, expected: &Tensor) {
    let error = largest(&(got - expected)) / largest(expected);
    assert!(error < 1e-5, "relative error {error:.2e}");
}

/// The frozen network's prediction with its adapter at `scale`.
fn predict(nets: &Nets, scale: f64, x_t: &Tensor, t: &Tensor, cond: &Conditioning) -> Tensor {
    let _guard = no_grad_guard();
    let call = Call {
        adapters: &[(FAKE_SCORE, scale)],
        ..Call::default()
    };
    nets.frozen().net.forward(x_t, t, cond, &call)
}

/// Decoupled DMD, whose guidance has weight 1.5 at update 10.
fn decoupled(below_input: bool, normalize: bool) -> (DistributionMatching, u64, f64) {
    let augmentation = Augmentation {
        weight: Curve::Linear {
            from: 0.0,
            to: 3.0,
            over: 20,
        },
        renoise: TimeDistribution::Uniform,
        below_input,
    };
    let config = DistributionMatching {
        weight: Curve::Constant(0.5),
        real_scale: Curve::Constant(REAL_SCALE),
        renoise: TimeDistribution::Beta {
            a: Curve::Constant(4.0),
            b: Curve::Constant(1.5),
        },
        normalize,
        guidance: None,
        augmentation: Some(augmentation),
    };
    (config, 10, 1.5)
}

#[test]
fn decoupled_matching_is_its_formula() {
    let mut tiny = Tiny::new();
    let r = rollout(&mut tiny);
    for (below_input, normalize) in [(true, true), (true, false), (false, true)] {
        let (config, update, weight) = decoupled(below_input, normalize);
        let x0 = r.x0.copy().set_requires_grad(true);
        reseed(&[9]);
        let mut losses = term::dm(&config, FAKE_SCALE, &tiny.at(0, update), &x0, &r);

        // Both scores at one time, the real one without guidance; what guidance adds to it, at a time of its own.
        reseed(&[9]);
        let t = sample_times(&config.renoise, update, 4, Device::Cpu);
        let x_t = noised(&r.x0, &t);
        let mut own_t = sample_times(&TimeDistribution::Uniform, update, 4, Device::Cpu);
        if below_input {
            own_t *= &r.t;
        }
        let own_x_t = noised(&r.x0, &own_t);
        let predict = |scale, x_t, t, cond| predict(&tiny.nets, scale, x_t, t, cond);
        let null = tiny.nets.frozen().guidance.null.expand(4);
        let conditional = predict(REAL_SCALE, &own_x_t, &own_t, &r.cond);
        let unconditional = predict(REAL_SCALE, &own_x_t, &own_t, &null);
        let guidance = (conditional - unconditional) * (GUIDANCE - 1.0);
        let fake = predict(FAKE_SCALE, &x_t, &t, &r.cond);
        let real = predict(REAL_SCALE, &x_t, &t, &r.cond);
        let mut expected = (fake - &real) - guidance * weight;
        if normalize {
            let distance = (&r.x0 - real).abs();
            expected /= distance.mean_dim(&[1i64, 2, 3][..], true, Kind::Float);
        }

        let term = losses.terms.remove(0);
        assert!(losses.terms.is_empty() && term.name == "dm");
        assert!((term.weight - 0.5).abs() < f64::EPSILON);
        close(&term.value, &(expected.square().mean(Kind::Float) / 2.0));
        let gradient = Tensor::run_backward(&[term.value], &[&x0], false, false).remove(0);
        close(&gradient, &(expected / r.x0.numel() as f64));
    }
}

#[test]
fn decoupled_at_equal_times_is_plain_matching_with_guidance() {
    let nets = Tiny::new().nets;
    let teacher = nets.teacher_with(NetId::FAKE_SCORE, 0.5);
    let options = (Kind::Float, Device::Cpu);
    let (x0, x_t) = (
        Tensor::randn([4, 3, 8, 8], options),
        Tensor::randn([4, 3, 8, 8], options),
    );
    let t = Tensor::from_slice(&[0.1f32, 0.4, 0.7, 0.9]);
    let cond = cond();
    let fake = Tensor::randn([4, 3, 8, 8], options);
    let gradient = |x0_real: &Tensor, x0_fake: &Tensor| {
        let x0 = x0.detach().set_requires_grad(true);
        let loss = loss::distribution_matching(&x0, x0_real, x0_fake, false).loss;
        Tensor::run_backward(&[loss], &[&x0], false, false).remove(0)
    };
    let coupled = gradient(&teacher.x0_no_grad(&x_t, &t, &cond), &fake);
    let guidance = teacher.guidance_no_grad(&x_t, &t, &cond);
    let conditional = teacher.unguided().x0_no_grad(&x_t, &t, &cond);
    let decoupled = gradient(&conditional, &(&fake - guidance));
    assert!(largest(&(coupled - decoupled)) < 1e-6);
    let none = teacher.unguided().guidance_no_grad(&x_t, &t, &cond);
    assert!(largest(&none) < f64::MIN_POSITIVE, "w = 1 adds nothing");
}

#[test]
fn pretraining_is_the_denoising_loss_on_true_images() {
    let mut tiny = Tiny::new();
    reseed(&[4]);
    let images = Tensor::rand([4, 3, 8, 8], (Kind::Float, Device::Cpu)) * 2.0 - 1.0;
    tiny.feed.true_images = Some(images.shallow_clone());
    let r = rollout(&mut tiny);
    let weight = Curve::Linear {
        from: 0.0,
        to: 1.0,
        over: 10,
    };
    reseed(&[8]);
    let losses = term::pretraining(&weight, &tiny.at(0, 3), &r).expect("there are images");

    reseed(&[8]);
    let x0 = images + 0.3;
    let x_t = noised(&x0, &r.t);
    let Network::Full(student) = &tiny.nets.net(NetId::STUDENT).network else {
        unreachable!("a network of its own")
    };
    let x0_hat = student.forward(&x_t, &r.t, &r.cond, &Call::default());
    let u = (x0_hat - x0) / r.t.reshape([4, 1, 1, 1]);
    let [term] = &losses.terms[..] else {
        panic!("{losses:?}")
    };
    assert!(term.name == "pretraining" && (term.weight - 0.3).abs() < 1e-9);
    close(&term.value, &u.square().mean(Kind::Float));
    let found = gradients(&tiny.nets, NetId::STUDENT, &term.value);
    let expected = gradients(&tiny.nets, NetId::STUDENT, &u.square().mean(Kind::Float));
    let scale = expected.iter().map(largest).fold(0.0, f64::max);
    for (found, expected) in found.iter().zip(&expected) {
        assert!(largest(&(found - expected)) < 1e-5 * scale);
    }
}

#[test]
fn true_images_are_missed_only_where_they_are_needed() {
    let mut tiny = Tiny::new();
    let r = rollout(&mut tiny);
    let weight = Curve::Step {
        from: 0.0,
        to: 1.0,
        at: 5,
    };
    let before = term::pretraining(&weight, &tiny.at(0, 4), &r).expect("it weighs nothing");
    assert!(before.terms.is_empty());
    let error = term::pretraining(&weight, &tiny.at(0, 5), &r).expect_err("none to be had");
    assert!(matches!(error, MethodError::NoTrueImages), "{error}");
}

#[test]
fn no_gradient_leaves_its_network() {
    let mut tiny = Tiny::new();
    let r = rollout(&mut tiny);
    let update = tiny.at(0, 0);
    let reach = |losses: &dyn Fn() -> Losses| {
        [NetId::STUDENT, NetId::FAKE_SCORE].map(|id| {
            let gradients = gradients(update.nets(), id, &losses().total());
            gradients.iter().any(|gradient| largest(gradient) > 0.0)
        })
    };
    let fake_score = || term::fake_score(&FakeScoreLoss::default(), 1.0, &update, &r);
    assert_eq!(reach(&fake_score), [false, true]);
    assert_eq!(reach(&|| matching(&update, &r)), [true, false]);
    let frozen = update.nets().frozen().store.group().tensors;
    assert!(frozen.iter().all(|tensor| !tensor.requires_grad()));
}

/// Distribution matching of the student's own prediction.
fn matching(update: &Update<'_>, r: &Rollout) -> Losses {
    let student = update.view(NetId::STUDENT).trained();
    let x0 = student.x0(&r.x_t, &r.t, &r.cond);
    term::dm(&DistributionMatching::default(), 1.0, update, &x0, r)
}
