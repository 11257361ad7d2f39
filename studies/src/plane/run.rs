//! One arm on the plane: the method of the papers with points for images.

use dmdr_config::{
    Dmdr as DmdrConfig, Ema, FakeForm, FakeScore, NetId, Optim, Recipe, Setup, Student, World,
};
use dmdr_diffusion::{Schedule, sampler, time_grid};
use dmdr_methods::{Dmdr, Nets, Simulation, rl::RlTerm};
use dmdr_models::{
    Architecture, Conditioning, Denoiser, ExactMixture, Guidance, ModelError, PointNet,
};
use dmdr_rewards::RewardMix;
use dmdr_tensor::{AdapterSpec, Device, Kind, ParamStore, Runtime, Tensor, no_grad_guard, reseed};
use dmdr_train::{Placing, Trainer, build_nets};

use super::{
    HIDDEN, Histogram, LAYERS, PlaneTeacher, PointReward, Probe, histogram::Divergences,
    nothing::Nothing, probe, to_points,
};
use crate::LabError;
use crate::plane::mixture::{Mixture, Point};

/// What is trained and how.
#[derive(Debug, Clone)]
pub struct PlaneArm {
    /// The method.
    pub dmdr: DmdrConfig,
    /// Optimisers.
    pub optim: Optim,
    /// The reward of `dmdr.rl`.
    pub reward: Option<PointReward>,
    /// Sampling steps of the student.
    pub num_steps: usize,
    /// The fake score: a LoRA of this rank on the trained teacher, whose real score is that teacher; or else a
    /// network of its own beside the exact score.
    pub rank: Option<usize>,
    /// Updates between snapshots.
    pub snapshot_every: u64,
    /// Whether snapshots probe the scores.
    pub has_probes: bool,
}

/// The student at one moment.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    /// Student updates done.
    pub update: u64,
    /// Samples to look at.
    pub points: Vec<Point>,
    /// Of many samples from the truth.
    pub divergences: Divergences,
    /// Share of the samples that belong to each component: within three deviations of its centre.
    pub shares: Vec<f64>,
    /// Mean reward, where there is one.
    pub reward: Option<f64>,
    /// What the scores are worth, where that is asked.
    pub probe: Option<Probe>,
}

impl Snapshot {
    /// Components that have at least a quarter of their due.
    pub fn covered(&self, mixture: &Mixture) -> usize {
        let components = mixture.components().iter().zip(&self.shares);
        components
            .filter(|(component, share)| **share >= 0.25 * component.weight)
            .count()
    }
}

/// All snapshots of an arm.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct PlaneOutcome {
    /// In order; the last one is the result.
    pub snapshots: Vec<Snapshot>,
}

/// Samples that are measured, and shown.
const MEASURED: i64 = 40_000;
const SHOWN: usize = 1500;
/// Samples that stand for the student's distribution in a probe.
const PROBED: usize = 4000;
const BINS: usize = 48;

/// Trains `arm` from `teacher`'s weights; `mixture` is the truth.
///
/// # Errors
/// A loss that is not finite, or a failure of libtorch.
pub fn train(
    mixture: &Mixture,
    teacher: &PlaneTeacher,
    arm: &PlaneArm,
    seed: u64,
) -> Result<PlaneOutcome, LabError> {
    let mut nets = nets(mixture, teacher, arm, seed)?;
    let times = time_grid(arm.num_steps, 1.0);
    let rl = match (Recipe::rl(&arm.dmdr), &arm.reward) {
        (Some(part), Some(reward)) => {
            let mut rewards = RewardMix::default();
            rewards.push(dmdr_config::Curve::Constant(1.0), Box::new(reward.clone()));
            let schedule = Schedule::RectifiedFlow;
            Some(RlTerm::new(part, rewards, times.clone(), schedule)?)
        }
        _ => None,
    };
    let simulation = Simulation {
        times: times.clone(),
        image_shape: [2, 1, 1],
    };
    let method = Dmdr::new(arm.dmdr.clone(), 1.0, rl, simulation);
    nets.train_by(&arm.optim);
    let plan = arm.dmdr.plan();
    let mut trainer = Trainer::new(Box::new(method), nets, plan.iterations, seed);

    let feed = Nothing(plan.batch_size);
    let post_mortem = std::env::temp_dir();
    let mut snapshots = vec![snapshot(trainer.nets(), mixture, &times, arm, 0)];
    for update in 0..plan.num_updates {
        trainer.update(update, &feed, &post_mortem)?;
        let done = update + 1;
        if done.is_multiple_of(arm.snapshot_every) || done == plan.num_updates {
            snapshots.push(snapshot(trainer.nets(), mixture, &times, arm, done));
        }
    }
    Ok(PlaneOutcome { snapshots })
}

/// Networks on points. The teacher is the trained one where adapters are put on it, or else the exact one.
#[derive(Debug)]
struct Points<'a> {
    mixture: &'a Mixture,
    teacher: &'a PlaneTeacher,
}

impl Architecture for Points<'_> {
    fn build(
        &self,
        store: &ParamStore,
        adapters: &[AdapterSpec],
    ) -> Result<Box<dyn Denoiser>, ModelError> {
        Ok(Box::new(PointNet::new(store, adapters, HIDDEN, LAYERS)?))
    }

    fn load(&self, store: &ParamStore) -> Result<(), ModelError> {
        store.copy_from(&self.teacher.store);
        Ok(())
    }

    fn teacher(
        &self,
        store: &ParamStore,
        adapters: &[AdapterSpec],
    ) -> Result<Box<dyn Denoiser>, ModelError> {
        if !adapters.is_empty() {
            let net = self.build(store, adapters)?;
            self.load(store)?;
            return Ok(net);
        }
        let components = self.mixture.components();
        let weights: Vec<f64> = components.iter().map(|c| c.weight).collect();
        let means: Vec<Vec<f64>> = components.iter().map(|c| c.mean.to_vec()).collect();
        let stds: Vec<f64> = components.iter().map(|c| c.std).collect();
        let exact = ExactMixture::new(&weights, &means, &stds, Device::Cpu);
        Ok(Box::new(exact))
    }

    fn default_targets(&self) -> &'static [&'static str] {
        &["*"]
    }

    fn schedule(&self) -> Schedule {
        Schedule::RectifiedFlow
    }
}

/// The networks of `arm`.
fn nets(
    mixture: &Mixture,
    teacher: &PlaneTeacher,
    arm: &PlaneArm,
    seed: u64,
) -> Result<Nets, LabError> {
    let fake_score = match arm.rank {
        Some(rank) => FakeScore {
            rank,
            alpha: rank as f64,
            ..FakeScore::default()
        },
        None => FakeScore {
            form: FakeForm::Full,
            ..FakeScore::default()
        },
    };
    let setup = Setup {
        student: &Student::default(),
        fake_score: &fake_score,
        rewards: &[],
        optim: &arm.optim,
        ema: Some(Ema { decay: 0.98 }),
        world: &World::default(),
    };
    let placing = Placing {
        runtime: Runtime::f32(Device::Cpu),
        recomputed: 0.0,
        seed,
    };
    let guidance = Guidance {
        scale: 1.0,
        null: Conditioning::none(1, Device::Cpu),
    };
    let points = Points { mixture, teacher };
    Ok(build_nets(
        &arm.dmdr.nets(&setup),
        &points,
        placing,
        guidance,
    )?)
}

fn snapshot(
    nets: &Nets,
    mixture: &Mixture,
    times: &[f64],
    arm: &PlaneArm,
    update: u64,
) -> Snapshot {
    let _guard = no_grad_guard();
    reseed(&[0x5A_4D]); // the same noise every time
    let noise = Tensor::randn([MEASURED, 2, 1, 1], (Kind::Float, Device::Cpu));
    let student = nets.view(NetId::AVERAGE);
    let nothing = Conditioning::none(MEASURED, Device::Cpu);
    let x = sampler::renoise(student.schedule, times, &noise, |x, t| {
        student.x0(x, t, &nothing)
    });
    let reward = arm
        .reward
        .as_ref()
        .map(|reward| reward.at(&x).mean(Kind::Double).double_value(&[]));
    let points = to_points(&x);
    let mut shares = vec![0.0; mixture.components().len()];
    for &point in &points {
        let (nearest, distance) = mixture.nearest(point);
        if distance <= 3.0 {
            shares[nearest] += 1.0 / points.len() as f64;
        }
    }
    let probe = arm.has_probes.then(|| {
        let real_scale = arm.dmdr.dm.real_scale.at(update);
        probe(nets, real_scale, mixture, &points[..PROBED])
    });
    Snapshot {
        update,
        probe,
        divergences: Histogram::new(&points, BINS).divergences(mixture),
        shares,
        reward,
        points: points[..SHOWN].to_vec(),
    }
}
