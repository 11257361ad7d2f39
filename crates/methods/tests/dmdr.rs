//! Whole updates of DMDR on tiny networks.

mod tiny;

use std::{cell::Cell, collections::BTreeMap, rc::Rc};

use dmdr_batches::Prompts;
use dmdr_config::{
    Curve, Dmdr as DmdrConfig, NetId, Recipe, ReinforcementLearning, RlAlgorithm, RlAlone, RlPart,
};
use dmdr_diffusion::Schedule;
use dmdr_methods::{Dmdr, rl::RlTerm, term};
use dmdr_rewards::{RewardError, RewardMix, RewardModel};
use dmdr_tensor::{Device, Kind, Tensor};
use tiny::{Tiny, part, simulation};

/// Mean of the pixels; counts the batches that it scores.
struct Counted(Rc<Cell<u32>>);

impl RewardModel for Counted {
    fn name(&self) -> &'static str {
        "counted"
    }

    fn is_differentiable(&self) -> bool {
        true
    }

    fn score(&self, images: &Tensor, _: &Prompts) -> Result<Tensor, RewardError> {
        self.0.set(self.0.get() + 1);
        Ok(images.mean_dim(&[1i64, 2, 3][..], false, Kind::Float))
    }
}

fn refl(part: RlPart, count: &Rc<Cell<u32>>) -> RlTerm {
    let mut rewards = RewardMix::default();
    rewards.push(Curve::Constant(1.0), Box::new(Counted(count.clone())));
    let times = simulation(2).times;
    RlTerm::new(part, rewards, times, Schedule::RectifiedFlow).expect("fits")
}

#[test]
fn an_update_changes_the_student_and_the_fake_score_alone() {
    let mut tiny = Tiny::new();
    let config = DmdrConfig::default();
    tiny.iterations = config.ttur;
    let mut method = Dmdr::new(config, 1.0, None, simulation(2));
    let trained = |tiny: &Tiny| [NetId::STUDENT, NetId::FAKE_SCORE].map(|id| tiny.values(id));
    let others = |tiny: &Tiny| [tiny.frozen(), tiny.values(NetId::REFERENCE)];
    let before = (trained(&tiny), others(&tiny));
    let _ = tiny.update(&mut method, 0);
    for (before, after) in before.0.iter().zip(trained(&tiny)) {
        assert_ne!(after, *before);
    }
    assert_eq!(others(&tiny), before.1);
}

/// What an update with `ReFL` at weight .4 leaves: its numbers, how often a reward was asked, and the student.
struct Left {
    numbers: BTreeMap<String, f64>,
    num_scored: u32,
    student: BTreeMap<String, Vec<f32>>,
}

/// An update beside matching at `dm_weight`, of which a guard leaves `factor`; without reinforcement learning if none.
fn guarded(factor: Option<f64>, dm_weight: f64) -> Left {
    let mut config = DmdrConfig {
        ttur: 1,
        rl: factor.map(|_| ReinforcementLearning {
            weight: Curve::Constant(0.4),
            algorithm: RlAlgorithm::Refl,
        }),
        ..DmdrConfig::default()
    };
    config.dm.weight = Curve::Constant(dm_weight);
    let count = Rc::new(Cell::new(0));
    let rl = config.rl().map(|part| refl(part, &count));
    let mut tiny = Tiny::new();
    let factor = factor.map(|factor| ("rl".to_owned(), factor));
    tiny.factors = factor.into_iter().collect();
    let mut method = Dmdr::new(config, 1.0, rl, simulation(2));
    Left {
        numbers: tiny.update(&mut method, 0),
        num_scored: count.get(),
        student: tiny.values(NetId::STUDENT),
    }
}

#[test]
fn a_guard_scales_reinforcement_learning() {
    // Without matching the gradient is that of the term alone.
    let [full, half] = [1.0, 0.5].map(|factor| guarded(Some(factor), 0.0));
    assert_eq!((full.num_scored, half.num_scored), (1, 1));
    let of = |name: &str| (full.numbers[name], half.numbers[name]);
    let (before, after) = of("rl/weight");
    assert!((before - 0.4).abs() < 1e-9 && (after - 0.2).abs() < 1e-9);
    let (before, after) = of("grad_norm/student");
    assert!(before > 1e-6 && (after / before - 0.5).abs() < 1e-6);
    let (before, after) = of("loss/rl");
    assert!(
        (before - after).abs() < f64::EPSILON,
        "it is logged unweighted"
    );
}

#[test]
fn nothing_is_scored_once_a_guard_leaves_nothing() {
    let (off, without) = (guarded(Some(0.0), 1.0), guarded(None, 1.0));
    assert_eq!(off.num_scored, 0);
    assert_eq!(off.student, without.student, "matching is all that is left");
    let mut numbers = off.numbers;
    assert!(numbers.remove("rl/weight").expect("logged").abs() < f64::MIN_POSITIVE);
    assert_eq!(numbers, without.numbers);
}

#[test]
fn refl_alone_is_regularised_by_true_images() {
    let tiny = || {
        let mut tiny = Tiny::new();
        let images = Tensor::zeros([4, 3, 8, 8], (Kind::Float, Device::Cpu));
        tiny.feed.true_images = Some(images);
        tiny
    };
    let weight = Curve::Constant(0.5);
    let config = RlAlone {
        pretraining: weight,
        ..RlAlone::default()
    };
    let rl = refl(part(RlAlgorithm::Refl), &Rc::default());
    let mut method = Dmdr::without_matching(&config, rl, simulation(2));
    let numbers = tiny().update(&mut method, 3);

    let mut tiny = tiny();
    let mut update = tiny.at(0, 3);
    let r = simulation(2).run(&mut update).expect("a rollout");
    let losses = term::pretraining(&weight, &update, &r).expect("there are images");
    let expected = losses.terms[0].value.double_value(&[]);
    assert!((numbers["loss/pretraining"] - expected).abs() < 1e-6);
}
