//! A batch computed in parts, and a share of a batch: nothing changes but rounding.

mod tiny;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use dmdr_batches::Prompts;
use dmdr_config::{
    Augmentation, Consistency, Curve, DistributionMatching, Dmd2 as Dmd2Config, Dmdr as DmdrConfig,
    Dpo, Gan, Groups, Grpo, Lcm as LcmConfig, Motion, NetId, Optim, Optimizer, RlAlgorithm,
    TimeDistribution,
};
use dmdr_diffusion::{Schedule, time_grid};
use dmdr_methods::{
    Division, Dmd2, Dmdr, Lcm, Method, MethodError, Net, Network, Update, rl::RlTerm, term,
};
use dmdr_models::Discriminator;
use dmdr_rewards::{RewardError, RewardMix, RewardModel, Scoring};
use dmdr_tensor::{Device, Kind, ParamStore, Tensor, reseed};
use tiny::{Tiny, dit, net, part, simulation};

/// Mean of the red channel; with holes, of none of the first captions' darker samples.
struct Red {
    has_holes: bool,
}

impl RewardModel for Red {
    fn name(&self) -> &'static str {
        "red"
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    fn may_leave_out(&self) -> bool {
        self.has_holes
    }

    fn score(&self, images: &Tensor, _: &Prompts) -> Result<Tensor, RewardError> {
        let score = images
            .select(1, 0)
            .mean_dim(&[1i64, 2][..], false, Kind::Float);
        let dark = score.lt(0.5);
        Ok(if self.has_holes {
            score.masked_fill(&dark, f64::NAN)
        } else {
            score
        })
    }
}

/// The same elsewhere: `told` is what it did.
struct Elsewhere {
    told: Rc<RefCell<Vec<&'static str>>>,
}

impl RewardModel for Elsewhere {
    fn name(&self) -> &'static str {
        "red"
    }

    fn is_differentiable(&self) -> bool {
        false
    }

    fn score(&self, images: &Tensor, prompts: &Prompts) -> Result<Tensor, RewardError> {
        self.begin(images, prompts)?()
    }

    fn begin(&self, images: &Tensor, prompts: &Prompts) -> Result<Scoring, RewardError> {
        let told = Rc::clone(&self.told);
        told.borrow_mut().push("asked");
        let score = Red { has_holes: false }.score(images, prompts);
        Ok(Box::new(move || {
            told.borrow_mut().push("answered");
            score
        }))
    }
}

fn rl(algorithm: RlAlgorithm, has_holes: bool) -> RlTerm {
    let mut mix = RewardMix::default();
    mix.push(Curve::Constant(1.0), Box::new(Red { has_holes }));
    let schedule = Schedule::RectifiedFlow;
    RlTerm::new(part(algorithm), mix, time_grid(3, 1.0), schedule).expect("fits")
}

fn groups() -> Groups {
    Groups {
        num_prompts: 4,
        size: 3,
    }
}

fn dmdr(algorithm: Option<RlAlgorithm>, has_holes: bool) -> Box<dyn Method> {
    let dm = DistributionMatching {
        augmentation: Some(Augmentation {
            weight: Curve::Constant(1.0),
            renoise: TimeDistribution::Uniform,
            below_input: true,
        }),
        renoise: TimeDistribution::Beta {
            a: Curve::Constant(4.0),
            b: Curve::Constant(1.5),
        },
        ..DistributionMatching::default()
    };
    let config = DmdrConfig {
        ttur: 2,
        dm,
        ..DmdrConfig::default()
    };
    let rl = algorithm.map(|algorithm| rl(algorithm, has_holes));
    Box::new(Dmdr::new(config, 1.0, rl, simulation(3)))
}

fn grpo() -> RlAlgorithm {
    RlAlgorithm::Grpo(Grpo {
        groups: groups(),
        kl: 0.1,
        num_inner_updates: 2,
        num_train_steps: 1,
        ..Grpo::default()
    })
}

fn dpo() -> RlAlgorithm {
    RlAlgorithm::Dpo(Dpo {
        groups: groups(),
        beta: 10.0,
        refresh_every: 2,
    })
}

fn dmd2() -> Box<dyn Method> {
    let config = Dmd2Config {
        ttur: 2,
        gan: Some(Gan::default()),
        ..Dmd2Config::default()
    };
    Box::new(Dmd2::new(config, 1.0, simulation(3)))
}

fn lcm() -> Box<dyn Method> {
    let config = LcmConfig {
        consistency: Consistency::default(),
        ..LcmConfig::default()
    };
    Box::new(Lcm::new(config))
}

fn scene() -> Tiny {
    let like = dit(&ParamStore::frozen(Device::Cpu), &[]);
    let heads = ParamStore::trainable(Device::Cpu, 3);
    let discriminator = Discriminator::new(&heads, &like, None, 8).expect("blocks");
    let average = |of| Motion::Average {
        of,
        decay: 0.9,
        warms_up: false,
    };
    let optimizer = Optimizer {
        lr: Curve::Constant(1e-3),
        betas: [0.9, 0.99],
        // Not the sign of the gradient, which rounding could turn.
        eps: 1e-3,
        weight_decay: 0.0,
        clip_norm: 1e-2,
    };
    let ids = [NetId::STUDENT, NetId::FAKE_SCORE, NetId::DISCRIMINATOR];
    let mut tiny = Tiny::with_optim(
        vec![
            net(NetId::STUDENT, Motion::Trained),
            net(NetId::REFERENCE, Motion::Copied),
            net(NetId::TARGET, average(NetId::STUDENT)),
            Net::new(
                NetId::DISCRIMINATOR,
                heads,
                Network::Heads(discriminator),
                Motion::Trained,
            ),
        ],
        &Optim::new(ids.map(|id| (id, optimizer.clone()))),
    );
    reseed(&[8]);
    tiny.feed.true_images = Some(Tensor::randn([4, 3, 8, 8], (Kind::Float, Device::Cpu)));
    tiny.iterations = 2;
    tiny
}

/// Makes a method anew.
type Make<'a> = &'a dyn Fn() -> Box<dyn Method>;
/// Parameters of a network, by name.
type Weights = BTreeMap<String, Vec<f32>>;
/// What an update logged.
type Logged = BTreeMap<String, f64>;

/// All weights after two updates, and what these logged.
fn trained(mut method: Box<dyn Method>, parts: usize) -> (Vec<Weights>, Vec<Logged>) {
    let mut tiny = scene();
    let mut logged = Vec::new();
    for index in 0..2 {
        let mut update = tiny.at(3, index).divided(Division::new(parts, parts));
        method.update(&mut update).expect("computed");
        logged.push(update.finish().expect("finite"));
    }
    let ids = [
        NetId::STUDENT,
        NetId::FAKE_SCORE,
        NetId::DISCRIMINATOR,
        NetId::TARGET,
    ];
    (ids.map(|id| tiny.values(id)).into(), logged)
}

/// Largest difference of weights, against the way they went.
fn apart(a: &[Weights], b: &[Weights]) -> f64 {
    let pairs = a.iter().zip(b).flat_map(|(a, b)| {
        a.iter()
            .flat_map(|(name, values)| values.iter().zip(&b[name]))
    });
    pairs
        .map(|(a, b)| f64::from((a - b).abs()))
        .fold(0.0, f64::max)
}

/// A student's update on a card that holds the activations of two samples.
struct Small;

impl Method for Small {
    fn update(&mut self, update: &mut Update<'_>) -> Result<(), MethodError> {
        let r = simulation(3).run(update)?;
        update.minimise(NetId::STUDENT, |update, part| {
            let r = r.part(part);
            assert!(
                r.prompts.len() <= 2,
                "CUDA out of memory. Tried to allocate 20.00 MiB"
            );
            let mut losses = term::dm(&DistributionMatching::default(), 1.0, update, &r.x0, &r);
            let x0 = update
                .view(NetId::STUDENT)
                .trained()
                .x0(&r.x_t, &r.t, &r.cond);
            losses.add("small", 1.0, x0.square().mean(Kind::Float));
            Ok(losses)
        })
    }
}

#[test]
fn a_batch_that_does_not_fit_is_divided() {
    let trained = |division| {
        let mut tiny = scene();
        let mut update = tiny.at(3, 0).divided(division);
        Small.update(&mut update).expect("computed");
        let parts = update.division().parts();
        update.finish().expect("finite");
        (tiny.values(NetId::STUDENT), parts)
    };
    let (found, parts) = trained(Division::new(1, 4));
    let (expected, _) = trained(Division::new(2, 2));
    // The rollout was made before memory ran out, in one part.
    let error = apart(&[found], &[expected]);
    assert!(parts == 2 && error < 1e-6, "{parts} parts, {error}");
}

#[test]
#[should_panic(expected = "CUDA out of memory")]
fn a_batch_that_cannot_be_divided_fails() {
    let mut tiny = scene();
    let mut update = tiny.at(3, 0);
    drop(Small.update(&mut update));
}

#[test]
fn a_judge_elsewhere_reads_one_part_while_the_next_is_sampled() {
    let told = Rc::default();
    let mut mix = RewardMix::default();
    let judge = Elsewhere {
        told: Rc::clone(&told),
    };
    mix.push(Curve::Constant(1.0), Box::new(judge));
    let schedule = Schedule::RectifiedFlow;
    let term = RlTerm::new(part(grpo()), mix, time_grid(3, 1.0), schedule).expect("fits");
    let config = DmdrConfig {
        ttur: 1,
        ..DmdrConfig::default()
    };
    let method = |term| Box::new(Dmdr::new(config.clone(), 1.0, Some(term), simulation(3)));
    let elsewhere = trained(method(term), 2);
    assert_eq!(
        *told.borrow(),
        ["asked", "asked", "answered", "answered"].repeat(2)
    );
    assert_eq!(trained(method(rl(grpo(), false)), 2), elsewhere);
}

#[test]
fn parts_are_one_batch() {
    let methods: [(&str, Make<'_>); 7] = [
        ("DMD", &|| dmdr(None, false)),
        ("ReFL", &|| dmdr(Some(RlAlgorithm::Refl), false)),
        ("DPO", &|| dmdr(Some(dpo()), false)),
        ("GRPO", &|| dmdr(Some(grpo()), false)),
        ("GRPO without some scores", &|| dmdr(Some(grpo()), true)),
        ("DMD2", &dmd2),
        ("LCM", &lcm),
    ];
    let start: Vec<_> = {
        let tiny = scene();
        let ids = [
            NetId::STUDENT,
            NetId::FAKE_SCORE,
            NetId::DISCRIMINATOR,
            NetId::TARGET,
        ];
        ids.map(|id| tiny.values(id)).into()
    };
    for (name, method) in methods {
        let (whole, logged) = trained(method(), 1);
        let way = apart(&start, &whole);
        assert!(way > 1e-5, "{name} learns: {way}");
        for parts in [2, 4] {
            let (weights, found) = trained(method(), parts);
            let error = apart(&whole, &weights);
            assert!(
                error < 1e-3 * way,
                "{name} in {parts} parts: {error} of {way}"
            );
            for (whole, found) in logged.iter().zip(&found) {
                assert_eq!(whole.len(), found.len(), "{name}: {whole:?} {found:?}");
                for (key, value) in whole {
                    let error = (value - found[key]).abs();
                    assert!(
                        error < 1e-4 * value.abs().max(0.1),
                        "{name} in {parts} parts, {key}: {value}, {}",
                        found[key]
                    );
                }
            }
        }
    }
}
