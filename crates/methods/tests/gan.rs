//! DMD2's discriminator against closed forms.

mod tiny;

use dmdr_batches::Prompts;
use dmdr_config::{
    Curve, Dmd2 as Dmd2Config, Gan, Motion, NetId, Optim, Optimizer, TimeDistribution,
};
use dmdr_diffusion::{Parameterization, Schedule};
use dmdr_methods::{Dmd2, Net, Nets, Network, Rollout, Share, Teacher, Update, term};
use dmdr_models::{Call, Conditioning, Denoiser, Discriminator, Guidance, Taps, View};
use dmdr_tensor::{Device, Kind, ParamStore, Tensor, reseed};
use tiny::{Tiny, cond, dit, gradients, largest, net, simulation};

const LN_2: f64 = std::f64::consts::LN_2;

/// Heads on the last block of networks like `net`.
fn heads(net: &dyn Denoiser) -> Net {
    let store = ParamStore::trainable(Device::Cpu, 3);
    let heads = Discriminator::new(&store, net, None, 8).expect("a block");
    Net::new(
        NetId::DISCRIMINATOR,
        store,
        Network::Heads(heads),
        Motion::Trained,
    )
}

fn optimizer(lr: f64) -> Optimizer {
    Optimizer {
        lr: Curve::Constant(lr),
        betas: [0.9, 0.99],
        eps: 1e-8,
        weight_decay: 0.0,
        clip_norm: 1e9,
    }
}

/// The tiny networks and a discriminator that knows nothing.
fn tiny() -> Tiny {
    let like = dit(&ParamStore::frozen(Device::Cpu), &[]);
    let ids = [NetId::STUDENT, NetId::FAKE_SCORE, NetId::DISCRIMINATOR];
    let optim = Optim::new(ids.map(|id| (id, optimizer(3e-3))));
    let mut tiny = Tiny::with_optim(
        vec![net(NetId::STUDENT, Motion::Trained), heads(&like)],
        &optim,
    );
    reseed(&[8]);
    tiny.feed.true_images = Some(Tensor::randn([4, 3, 8, 8], (Kind::Float, Device::Cpu)));
    tiny
}

/// What a student made.
fn rollout(x0: Tensor, cond: Conditioning) -> Rollout {
    let count = x0.size()[0];
    Rollout {
        prompts: Prompts::plain(vec![String::new(); count as usize]),
        cond,
        x_t: x0.shallow_clone(),
        t: Tensor::ones([count], (Kind::Float, Device::Cpu)),
        x0,
        share: Share::WHOLE,
    }
}

fn value(scalar: &Tensor) -> f64 {
    scalar.double_value(&[])
}

#[test]
fn what_knows_nothing_has_logits_of_0() {
    let mut tiny = tiny();
    let images = tiny.feed.true_images.as_ref().expect("set").shallow_clone();
    let update = tiny.at(0, 0);
    let config = Gan::default();
    let r = rollout(
        Tensor::randn([4, 3, 8, 8], (Kind::Float, Device::Cpu)),
        cond(),
    );
    let judged = term::discriminator(&config, 1.0, &update, &images, &r);
    assert!((value(&judged.terms[0].value) - 2.0 * LN_2).abs() < 1e-6);
    assert!((judged.terms[0].weight - 1e-2).abs() < 1e-12);
    let fooled = term::gan(&config, 1.0, &update, &r.x0, &r);
    assert!((value(&fooled.terms[0].value) - LN_2).abs() < 1e-6);
    assert!((fooled.terms[0].weight - 5e-3).abs() < 1e-12);
}

#[test]
fn a_discriminator_trains_the_features_that_it_reads_and_the_student_neither() {
    let mut tiny = tiny();
    tiny.disturb(NetId::DISCRIMINATOR);
    let images = tiny.feed.true_images.as_ref().expect("set").shallow_clone();
    let update = tiny.at(0, 0);
    let (config, cond) = (Gan::default(), cond());
    let reached = |scalar: &dyn Fn() -> Tensor| {
        [NetId::STUDENT, NetId::FAKE_SCORE, NetId::DISCRIMINATOR].map(|id| {
            let grads = gradients(update.nets(), id, &scalar());
            grads.iter().any(|grad| largest(grad) > 0.0)
        })
    };
    let r_t = Tensor::ones([4], (Kind::Float, Device::Cpu));
    let student = || {
        let noise = Tensor::ones([4, 3, 8, 8], (Kind::Float, Device::Cpu));
        update
            .view(NetId::STUDENT)
            .trained()
            .x0(&noise, &r_t, &cond)
    };
    let made = || rollout(student(), cond.clone());
    let judged = || term::discriminator(&config, 1.0, &update, &images, &made()).total();
    assert_eq!(reached(&judged), [false, true, true]);
    let fooled = || term::gan(&config, 1.0, &update, &student(), &made()).total();
    assert!(reached(&fooled)[0]);
}

#[test]
fn an_update_trains_all_three_and_nothing_else() {
    let ids = [NetId::STUDENT, NetId::FAKE_SCORE, NetId::DISCRIMINATOR];
    let mut tiny = tiny();
    tiny.iterations = 2;
    let (frozen, before) = (tiny.frozen(), ids.map(|id| tiny.values(id)));
    let config = Dmd2Config {
        ttur: 2,
        gan: Some(Gan::default()),
        ..Dmd2Config::default()
    };
    let mut method = Dmd2::new(config, 1.0, simulation(2));
    let numbers = tiny.update(&mut method, 0);
    for (id, before) in ids.iter().zip(before) {
        assert_ne!(tiny.values(*id), before, "{id}");
        assert!(numbers.contains_key(&format!("grad_norm/{id}")));
    }
    assert_eq!(tiny.frozen(), frozen);
}

/// Without a discriminator it is DMD, and one step is as good as several.
#[test]
fn without_a_discriminator_it_asks_for_no_true_images() {
    for num_steps in [1, 4] {
        let mut tiny = Tiny::new();
        let config = Dmd2Config {
            ttur: 1,
            ..Dmd2Config::default()
        };
        let mut method = Dmd2::new(config, 1.0, simulation(num_steps));
        let numbers = tiny.update(&mut method, 0);
        let mut losses: Vec<&String> = numbers
            .keys()
            .filter(|name| name.starts_with("loss/"))
            .collect();
        losses.sort();
        assert_eq!(losses, ["loss/dm", "loss/fake_score"]);
    }
}

/// A network whose features are numbers of one dimension, beside two that never change.
struct Line;

impl Denoiser for Line {
    fn forward(&self, x_t: &Tensor, _: &Tensor, _: &Conditioning, _: &Call<'_>) -> Tensor {
        x_t.shallow_clone()
    }

    fn parameterization(&self) -> Parameterization {
        Parameterization::X0
    }

    fn feature_widths(&self) -> Vec<i64> {
        vec![3]
    }

    fn features(
        &self,
        x_t: &Tensor,
        _: &Tensor,
        _: &Conditioning,
        _: &Call<'_>,
        _: &Taps,
    ) -> Vec<Tensor> {
        let x = x_t.reshape([-1, 1, 1]);
        let one = x.ones_like();
        vec![Tensor::cat(&[&x, &one, &(&one * -1.0)], 2)]
    }
}

#[test]
fn the_best_discriminator_of_two_gaussians_has_their_log_ratio() {
    const MEAN: f64 = 0.3;
    const STD: f64 = 0.4;
    let frozen = || ParamStore::frozen(Device::Cpu);
    let teacher = Teacher {
        net: Box::new(Line),
        store: frozen(),
        schedule: Schedule::RectifiedFlow,
        guidance: Guidance {
            scale: 1.0,
            null: Conditioning::none(1, Device::Cpu),
        },
    };
    let fake = Net::new(
        NetId::FAKE_SCORE,
        frozen(),
        Network::Full(Box::new(Line)),
        Motion::Copied,
    );
    let mut nets = Nets::new(Some(teacher), vec![fake, heads(&Line)]);
    nets.train_by(&Optim::new([(NetId::DISCRIMINATOR, optimizer(1e-2))]));
    let mut tiny = Tiny::of(nets);
    // Times are clamped to .02 from below, where hardly any noise is added.
    let config = Gan {
        renoise: TimeDistribution::Beta {
            a: Curve::Constant(1.0),
            b: Curve::Constant(200.0),
        },
        ..Gan::default()
    };
    let count = 1024;
    let nothing = Conditioning::none(count, Device::Cpu);
    for update in 0..300 {
        let mut update = tiny.at(0, update);
        update.begin();
        let drawn =
            |mean: f64| Tensor::randn([count, 1, 1, 1], (Kind::Float, Device::Cpu)) * STD + mean;
        let (made, real) = (drawn(-MEAN), drawn(MEAN));
        let r = rollout(made, nothing.clone());
        let losses =
            |update: &Update<'_>, _| Ok(term::discriminator(&config, 1.0, update, &real, &r));
        update
            .minimise(NetId::DISCRIMINATOR, losses)
            .expect("a graph");
        update.finish().expect("finite");
    }
    let x = Tensor::from_slice(&[-0.5f32, -0.25, 0.0, 0.25, 0.5]).reshape([5, 1, 1, 1]);
    let t = Tensor::full([5], 0.02, (Kind::Float, Device::Cpu));
    let view = View::new(&Line, Schedule::RectifiedFlow);
    let judge = tiny.nets.discriminator(NetId::DISCRIMINATOR);
    let logits = judge.logits(&view, &x, &t, &Conditioning::none(5, Device::Cpu));
    // log N(x; a m, v) - log N(x; -a m, v) = 2 a m x / v
    let variance = (0.98 * STD).powi(2) + 0.02f64.powi(2);
    let expected = x.reshape([5, 1]) * (2.0 * 0.98 * MEAN / variance);
    let error = largest(&(&logits - &expected));
    assert!(error < 0.35, "{logits:?} {expected:?}");
}
