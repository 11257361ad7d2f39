//! The demo's student of four steps on the emoji world.

use dmdr_config::{Curve, Ema, Experiment, Method, NetId};
use dmdr_eval::EvalSet;
use dmdr_image::Image;
use dmdr_train::Observer;
use dmdr_world::Split;

use super::{
    Measured,
    arm::{Arm, Settings, arm_names},
};
use crate::{
    LabError,
    emoji::{self, Artist, Emoji, Subject, cold_start},
    report::{Effort, FIRST_SEED},
    study::Metrics,
    tuning::{Candidate, Criterion, Tuning, tune},
    units::{Units, share},
};

/// Seeds for each that is asked for.
pub(super) const SEEDS: u64 = 2;
/// The average of the student has to follow so few updates.
const EMA: Ema = Ema { decay: 0.9 };
/// Learning rates of the student that arms choose from.
const RATES: [f64; 4] = [5e-5, 1e-4, 2e-4, 4e-4];

static UNTRAINED: Criterion = Criterion::untrained(&[0, 1]);

/// Where arms have their settings from.
#[derive(Debug)]
pub(super) struct Regime {
    /// Each arm chose its own on validation prompts; or else all have the authors'.
    is_tuned: bool,
    /// Updates between the two checkpoints that are measured.
    half: u64,
    names: [&'static str; 4],
}

pub(super) const REGIMES: [Regime; 2] = [
    Regime {
        is_tuned: false,
        half: 40,
        names: arm_names!(""),
    },
    Regime {
        is_tuned: true,
        half: 20,
        names: arm_names!("tuned: "),
    },
];

impl Regime {
    pub(super) fn name(&self, arm: Arm) -> &'static str {
        self.names[arm as usize]
    }
}

/// Also images of every arm with the authors' settings and the first seed, in the order of the table.
pub(super) fn run(
    units: &Units,
    effort: Effort,
    observer: &mut dyn Observer,
    say: &mut dyn FnMut(&str),
) -> Result<(Measured, Vec<Vec<Image>>), LabError> {
    let num_prompts = if effort.is_quick { 6 } else { 180 };
    let set = EvalSet {
        split: Split::Test,
        num_prompts,
        seeds: vec![0, 1, 2],
    };
    let base = emoji::base()?;
    let mut emoji = Emoji {
        units,
        base,
        set,
        observer,
    };
    let mut all = Measured::default();
    let mut rows = Vec::new();
    for regime in &REGIMES {
        let half = if effort.is_quick { 2 } else { regime.half };
        let tuning = if regime.is_tuned {
            tunings(&mut emoji, regime, half, say)?
        } else {
            Vec::new()
        };
        let settings = |arm: Arm| match tuning.get(arm as usize) {
            Some(tuning) => arm.candidates(RATES)[tuning.chosen()],
            None => arm.of_authors(),
        };
        let arms: Vec<(u64, Arm)> = effort
            .many_seeds(SEEDS)
            .into_iter()
            .flat_map(|seed| Arm::ALL.map(|arm| (seed, arm)))
            .collect();
        let metrics = share(&arms, |&(seed, arm)| {
            let name = regime.name(arm);
            let experiment = experiment(&emoji.base, arm, half, settings(arm));
            let outcome = emoji.arm(name, seed, experiment, say)?;
            let at_half = emoji.checkpoint(name, seed, &outcome, half)?.into_iter();
            if seed == FIRST_SEED && !regime.is_tuned {
                rows.push((arm, Artist::Student.draw(&outcome, Subject::EachKind)?));
            }
            let mut metrics: Metrics = at_half.map(|(key, v)| (format!("half/{key}"), v)).collect();
            metrics.extend(outcome.metrics);
            Ok((name, metrics))
        })?;
        all.metrics.extend(metrics);
        all.tuning.extend(tuning);
    }
    // In the order of the table, whichever was finished first.
    rows.sort_by_key(|(arm, _)| *arm as usize);
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Ok((all, rows))
}

/// How the arms of a regime chose, in their order.
fn tunings(
    emoji: &mut Emoji<'_>,
    regime: &Regime,
    half: u64,
    say: &mut dyn FnMut(&str),
) -> Result<Vec<Tuning>, LabError> {
    share(&Arm::ALL, |&arm| {
        let candidate = |settings: Settings| Candidate {
            settings: settings.describe(),
            experiments: vec![experiment(&emoji.base, arm, half, settings); UNTRAINED.seeds.len()],
        };
        let candidates = arm.candidates(RATES).into_iter().map(candidate).collect();
        tune(emoji, regime.name(arm), &UNTRAINED, candidates, say)
    })
}

fn experiment(base: &Experiment, arm: Arm, half: u64, settings: Settings) -> Experiment {
    let mut cold = cold_start(base, 2 * half);
    cold.optim.get_mut(NetId::STUDENT).lr = Curve::Constant(settings.lr);
    cold.ema = Some(EMA);
    cold.events.checkpoint_every = half;
    cold.events.keep_checkpoints = 2;
    if let Method::Dmdr(dmdr) = &mut cold.method {
        dmdr.dm.real_scale = arm.real_scale(settings, half);
        dmdr.dm.renoise = arm.renoise(settings, half);
        dmdr.fake_score.renoise = arm.renoise(settings, half);
    }
    cold
}
