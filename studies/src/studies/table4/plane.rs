//! A one-step student of a ring of modes on the plane, where its divergences from the data are known.

use dmdr_config::{DistributionMatching, Dmdr, FakeScoreLoss};

use super::{
    Measured,
    arm::{Arm, Settings, arm_names},
};
use crate::{
    LabError,
    plane::{self, PlaneArm, PlaneOutcome},
    studies::Effort,
    study::{Column, Metrics, mean},
    tuning::{Criterion, Tried, Tuning},
    units::Units,
};

/// Learning rates of student and fake score, which are equal as in the authors' demo.
const RATES: [f64; 4] = [1.25e-4, 2.5e-4, 5e-4, 1e-3];
const HALF: u64 = 150;
/// Seeds for each that is asked for.
pub(super) const SEEDS: u64 = 4;

/// The Jeffreys divergence: what is missing and what is too much count alike.
static JEFFREYS: Criterion = Criterion {
    columns: [
        Column::new("forward_kl", "KL(data, student)"),
        Column::new("reverse_kl", "KL(student, data)"),
    ],
    higher_is_better: false,
    seeds: &[0, 1, 2],
    on: "the plane",
};

/// How well the fake score keeps up.
#[derive(Debug)]
pub(super) struct Regime {
    /// Its updates to each of the student's.
    ttur: u64,
    names: [&'static str; 4],
}

pub(super) const REGIMES: [Regime; 2] = [
    Regime {
        ttur: 5,
        names: arm_names!("plane: "),
    },
    Regime {
        ttur: 3,
        names: arm_names!("plane, 3 to 1: "),
    },
];

impl Regime {
    pub(super) fn name(&self, arm: Arm) -> &'static str {
        self.names[arm as usize]
    }
}

/// All regimes in one go, as the arms of a seed share a teacher.
pub(super) fn run(
    units: &Units,
    effort: Effort,
    say: &mut dyn FnMut(&str),
) -> Result<Measured, LabError> {
    let mixture = plane::ring();
    let (pretraining, half) = if effort.is_quick {
        (300, 4)
    } else {
        (1500, HALF)
    };
    let mut outcomes = |arms: &[(&str, PlaneArm)], seeds: &[u64]| {
        let outcomes = plane::outcomes(units, &mixture, pretraining, arms, seeds, say)?;
        let of = |name| {
            let of_arm = outcomes.iter().filter(move |(arm, ..)| *arm == name);
            of_arm.map(|(.., outcome)| metrics(outcome)).collect()
        };
        Ok::<Vec<Vec<Metrics>>, LabError>(arms.iter().map(|&(name, _)| of(name)).collect())
    };
    let arms: Vec<(&Regime, Arm)> = REGIMES
        .iter()
        .flat_map(|regime| Arm::ALL.map(|arm| (regime, arm)))
        .collect();
    let candidates: Vec<(String, PlaneArm)> = arms
        .iter()
        .flat_map(|&(regime, arm)| {
            arm.candidates(RATES).into_iter().map(move |settings| {
                let name = format!("{}, {}", regime.name(arm), settings.describe());
                (name, experiment(arm, regime, half, settings))
            })
        })
        .collect();
    let candidates: Vec<(&str, PlaneArm)> = candidates
        .iter()
        .map(|(name, candidate)| (name.as_str(), candidate.clone()))
        .collect();
    let mut tried = outcomes(&candidates, JEFFREYS.seeds)?.into_iter();
    let tuning: Vec<Tuning> = arms
        .iter()
        .map(|&(regime, arm)| Tuning {
            arm: regime.name(arm),
            criterion: &JEFFREYS,
            tried: arm
                .candidates(RATES)
                .into_iter()
                .zip(&mut tried)
                .map(|(settings, seeds)| Tried {
                    settings: settings.describe(),
                    metrics: mean(&seeds),
                })
                .collect(),
        })
        .collect();
    let chosen: Vec<(&str, PlaneArm)> = arms
        .iter()
        .zip(&tuning)
        .map(|(&(regime, arm), tuning)| {
            let settings = arm.candidates(RATES)[tuning.chosen()];
            (regime.name(arm), experiment(arm, regime, half, settings))
        })
        .collect();
    let measured = outcomes(&chosen, &effort.many_seeds(SEEDS))?;
    let metrics = arms
        .iter()
        .zip(measured)
        .flat_map(|(&(regime, arm), seeds)| seeds.into_iter().map(move |m| (regime.name(arm), m)))
        .collect();
    Ok(Measured { metrics, tuning })
}

fn experiment(arm: Arm, regime: &Regime, half: u64, settings: Settings) -> PlaneArm {
    let renoise = arm.renoise(settings, half);
    PlaneArm {
        dmdr: Dmdr {
            num_updates: 2 * half,
            batch_size: 256,
            ttur: regime.ttur,
            dm: DistributionMatching {
                real_scale: arm.real_scale(settings, half),
                renoise: renoise.clone(),
                // Per-sample normalisation moves the fixed point in two dimensions.
                normalize: false,
                ..DistributionMatching::default()
            },
            fake_score: FakeScoreLoss { renoise },
            rl: None,
        },
        optim: plane::optim(settings.lr, settings.lr),
        reward: None,
        num_steps: 1,
        rank: Some(16),
        snapshot_every: half,
        has_probes: false,
    }
}

/// After half of the updates and at the end.
fn metrics(outcome: &PlaneOutcome) -> Metrics {
    let [_, half, end] = outcome.snapshots.as_slice() else {
        unreachable!("a snapshot at the start and every half")
    };
    Metrics::from([
        ("half/forward_kl".into(), half.divergences.forward),
        ("half/reverse_kl".into(), half.divergences.reverse),
        ("forward_kl".into(), end.divergences.forward),
        ("reverse_kl".into(), end.divergences.reverse),
    ])
}
