//! The same question on the emoji world, where a fake score that was trained to the end stands for the exact one.

use dmdr_config::{Curve, Experiment, Method, NetId, TimeDistribution};
use dmdr_eval::EvalSet;
use dmdr_train::Observer;
use dmdr_world::Split;

use super::ProbeAt;
use crate::{
    LabError,
    emoji::{self, Emoji, EmojiOutcome, cold_start, probe},
    studies::Effort,
    study::Metrics,
    units::{Units, share},
};

pub(super) const PLAIN: &str = "emoji: DMD";
pub(super) const DYNADG: &str = "emoji: DMD + DynaDG";
/// Updates of the run, which are those of the dose.
const UPDATES: u64 = 80;
/// Moments that are probed.
const PROBES: u64 = 4;
/// Student updates, and fake-score updates for each, that train a fake score to the end. The student stands still.
const CONVERGE: (u64, u64) = (8, 25);
const STANDSTILL: f64 = 1e-12;

/// An arm, its seed, and its probes.
pub(super) type Probed = (&'static str, u64, Vec<ProbeAt>);

/// Probes of both arms with all seeds.
pub(super) fn run(
    units: &Units,
    effort: Effort,
    observer: &mut dyn Observer,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Probed>, LabError> {
    let base = emoji::base()?;
    let (updates, converge) = if effort.is_quick {
        (PROBES, (1, 2))
    } else {
        (UPDATES, CONVERGE)
    };
    let mut emoji = Emoji {
        units,
        base: base.clone(),
        set: EvalSet {
            split: Split::Validation,
            num_prompts: 6,
            seeds: vec![0],
        },
        observer,
    };
    let arms: Vec<(&'static str, u64)> = effort
        .seeds()
        .into_iter()
        .flat_map(|seed| [PLAIN, DYNADG].map(|arm| (arm, seed)))
        .collect();
    let every = updates / PROBES;
    let probed = share(&arms, |&(arm, seed)| {
        let of = emoji.arm(arm, seed, experiment(&base, arm, updates), say)?;
        (1..PROBES)
            .map(|index| index * every)
            .map(|update| {
                let name = format!("{arm}, fake score after {update}");
                let further = train_further(&of, update, converge)?;
                let converged = emoji.arm(&name, seed, further, say)?;
                let settings = format!("{of:?} {converged:?}");
                let name = format!("{arm}, probe after {update}");
                let found = units.get(&name, seed, &settings, || probe(&of, update, &converged))?;
                Ok((update, found.overlap, found.cosine))
            })
            .collect::<Result<Vec<_>, LabError>>()
    })?;
    let arms = arms.into_iter().zip(probed);
    Ok(arms
        .map(|((arm, seed), probes)| (arm, seed, probes))
        .collect())
}

pub(super) fn metrics(probes: &[ProbeAt]) -> Metrics {
    let mean =
        |number: fn(&ProbeAt) -> f64| probes.iter().map(number).sum::<f64>() / probes.len() as f64;
    Metrics::from([
        ("overlap".into(), mean(|probe| probe.1)),
        ("cosine".into(), mean(|probe| probe.2)),
    ])
}

/// The cold start of a one-step student.
fn experiment(base: &Experiment, arm: &str, updates: u64) -> Experiment {
    let mut cold = cold_start(base, updates);
    cold.student.num_steps = 1;
    cold.events.checkpoint_every = updates / PROBES;
    cold.events.keep_checkpoints = PROBES as usize;
    if let Method::Dmdr(dmdr) = &mut cold.method {
        dmdr.dm.real_scale = match arm {
            DYNADG => Curve::Cosine {
                from: 0.375,
                to: 0.0,
                over: updates,
            },
            _ => Curve::Constant(0.0),
        };
        dmdr.dm.renoise = TimeDistribution::Uniform;
        dmdr.fake_score.renoise = TimeDistribution::Uniform;
    }
    cold
}

/// Goes on with the fake score alone from a checkpoint of the run that left `of`.
fn train_further(
    of: &EmojiOutcome,
    update: u64,
    (updates, ttur): (u64, u64),
) -> Result<Experiment, LabError> {
    let run = dmdr_events::RunDir::open(&of.run)?;
    let checkpoint = run.checkpoint(update);
    let mut further = Experiment::load(run.config(), &[])?;
    further.student.init = Some(checkpoint.join("student.safetensors"));
    further.fake_score.init = Some(checkpoint.join("fake_score.safetensors"));
    further.optim.get_mut(NetId::STUDENT).lr = Curve::Constant(STANDSTILL);
    further.optim.get_mut(NetId::FAKE_SCORE).lr = Curve::Cosine {
        from: 8e-4,
        to: 4e-5,
        over: updates,
    };
    further.events.checkpoint_every = updates;
    if let Method::Dmdr(dmdr) = &mut further.method {
        dmdr.num_updates = updates;
        dmdr.ttur = ttur;
        dmdr.dm.real_scale = Curve::Constant(0.0);
    }
    Ok(further)
}
