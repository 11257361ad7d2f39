//! One arm on the plane: the method of the papers with points for images.

use dmdr_config::{Dmdr as DmdrConfig, Ema, Optim};
use dmdr_data::Prompts;
use dmdr_diffusion::{Schedule, sampler, time_grid};
use dmdr_methods::{Dmdr, FakeScore, Generator, Roles, rl::RlTerm};
use dmdr_models::{Conditioning, Denoiser, ExactMixture, Guidance, PointNet};
use dmdr_rewards::RewardMix;
use dmdr_tensor::{
    AdapterId, AdapterSpec, Device, Kind, ParamStore, Tensor, no_grad_guard, reseed,
};
use dmdr_train::{Alternation, Stores};
use dmdr_world::{Mixture, Point};

use super::{
    HIDDEN, Histogram, LAYERS, PlaneTeacher, PointReward, Probe, histogram::Divergences, probe,
    to_points,
};
use crate::LabError;

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
    pub rank: Option<i64>,
    /// Updates between snapshots.
    pub snapshot_every: u64,
    /// Whether snapshots probe the scores.
    pub has_probes: bool,
}

/// The student at one moment.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Snapshot {
    /// Generator updates done.
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
const SCORE: AdapterId = AdapterId(0);

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
    let student = ParamStore::trainable(Device::Cpu, seed);
    let student_net = PointNet::new(&student, &[], HIDDEN, LAYERS)?;
    student.copy_from(&teacher.store);
    let score = ParamStore::trainable(Device::Cpu, seed);
    let (base, fake) = scores(mixture, teacher, arm, &score)?;
    let roles = Roles {
        base,
        generator: Generator::Full(Box::new(student_net)),
        reference: None,
        score: fake,
        schedule: Schedule::RectifiedFlow,
        guidance: Guidance {
            scale: 1.0,
            null: Conditioning::none(1, Device::Cpu),
        },
    };
    let times = time_grid(arm.num_steps, 1.0);
    let rl = match (&arm.dmdr.rl, &arm.reward) {
        (Some(rl), Some(reward)) => {
            let mut rewards = RewardMix::default();
            rewards.push(dmdr_config::Curve::Constant(1.0), Box::new(reward.clone()));
            Some(RlTerm::new(
                rl.algorithm,
                rewards,
                times.clone(),
                Schedule::RectifiedFlow,
            )?)
        }
        _ => None,
    };
    let method = Dmdr::new(arm.dmdr.clone(), times.clone(), 1.0, roles, rl, [2, 1, 1]);
    let stores = Stores {
        student,
        score,
        reference: None,
    };
    let ema = Some(Ema { decay: 0.98 });
    let mut alternation = Alternation::new(
        Box::new(method),
        stores,
        &arm.optim,
        ema,
        arm.dmdr.ttur,
        seed,
    );

    let batch = arm.dmdr.batch_size;
    let post_mortem = std::env::temp_dir();
    let mut snapshots = vec![snapshot(&alternation, mixture, &times, arm, 0)];
    for update in 0..arm.dmdr.num_updates {
        alternation.update(&post_mortem, update, |_| {
            let nothing = Conditioning::none(batch as i64, Device::Cpu);
            Ok((
                Prompts::plain(vec![String::new(); batch], Device::Cpu),
                nothing,
            ))
        })?;
        let done = update + 1;
        if done.is_multiple_of(arm.snapshot_every) || done == arm.dmdr.num_updates {
            snapshots.push(snapshot(&alternation, mixture, &times, arm, done));
        }
    }
    Ok(PlaneOutcome { snapshots })
}

/// The base and the fake score: teacher with LoRA, or exact score with a copy of the teacher.
fn scores(
    mixture: &Mixture,
    teacher: &PlaneTeacher,
    arm: &PlaneArm,
    score: &ParamStore,
) -> Result<(Box<dyn Denoiser>, FakeScore), LabError> {
    if let Some(rank) = arm.rank {
        let base = ParamStore::frozen(Device::Cpu);
        let targets = ["*".to_owned()];
        let specs = [AdapterSpec::new(rank, rank as f64, &targets, score.clone())];
        let net = PointNet::new(&base, &specs, HIDDEN, LAYERS)?;
        base.copy_from(&teacher.store);
        return Ok((Box::new(net), FakeScore::Adapter(SCORE)));
    }
    let net = PointNet::new(score, &[], HIDDEN, LAYERS)?;
    score.copy_from(&teacher.store);
    let components = mixture.components();
    let exact = ExactMixture::new(
        &components.iter().map(|c| c.weight).collect::<Vec<_>>(),
        &components
            .iter()
            .map(|c| c.mean.to_vec())
            .collect::<Vec<_>>(),
        &components.iter().map(|c| c.std).collect::<Vec<_>>(),
        Device::Cpu,
    );
    Ok((Box::new(exact), FakeScore::Full(Box::new(net))))
}

fn snapshot(
    alternation: &Alternation,
    mixture: &Mixture,
    times: &[f64],
    arm: &PlaneArm,
    update: u64,
) -> Snapshot {
    let _guard = no_grad_guard();
    reseed(&[0x5A_4D]); // the same noise every time
    let noise = Tensor::randn([MEASURED, 2, 1, 1], (Kind::Float, Device::Cpu));
    let x = alternation.with_average(|| {
        let roles = alternation.method().roles();
        let student = roles.generator(&[], false);
        let nothing = Conditioning::none(MEASURED, Device::Cpu);
        sampler::renoise(student.schedule, times, &noise, |x, t| {
            student.x0(x, t, &nothing)
        })
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
        probe(
            alternation.method().roles(),
            real_scale,
            mixture,
            &points[..PROBED],
        )
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
