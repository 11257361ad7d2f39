//! A one-step student of the emoji world.

use dmdr_config::{Curve, Experiment, Method};
use dmdr_eval::EvalSet;
use dmdr_train::Observer;
use dmdr_world::{Image, Split};

use super::{
    Measured,
    arm::{Arm, Settings},
};
use crate::{
    LabError,
    emoji::{self, Artist, Emoji, Subject, cold_start},
    studies::{Effort, FIRST_SEED},
    study::Metrics,
    tuning::{Candidate, Criterion, tune},
    units::{Units, share},
};

/// Updates between the two checkpoints that are measured.
const HALF: u64 = 80;
/// Learning rates of the student.
const RATES: [f64; 4] = [2e-4, 4e-4, 8e-4, 1.6e-3];

static UNTRAINED: Criterion = Criterion::untrained(&[0]);

impl Arm {
    /// In the table, and of its folder.
    pub(super) fn on_emoji(self) -> &'static str {
        match self {
            Self::Vanilla => "vanilla DMD",
            Self::DynaDg => "+ DynaDG",
            Self::DynaRs => "+ DynaRS",
            Self::Static => "without dynamics",
        }
    }
}

/// Also images of every arm with the first seed, in the order of the table.
pub(super) fn run(
    units: &Units,
    effort: Effort,
    observer: &mut dyn Observer,
    say: &mut dyn FnMut(&str),
) -> Result<(Measured, Vec<Vec<Image>>), LabError> {
    let base = emoji::base()?;
    let (half, num_prompts) = if effort.is_quick { (2, 6) } else { (HALF, 180) };
    let set = EvalSet {
        split: Split::Test,
        num_prompts,
        seeds: vec![0, 1, 2],
    };
    let mut emoji = Emoji {
        units,
        base: base.clone(),
        set,
        observer,
    };
    let tuning = share(&Arm::ALL, |&arm| {
        let candidate = |settings: Settings| Candidate {
            settings: settings.describe(),
            experiments: vec![experiment(&base, arm, half, settings)],
        };
        let candidates = arm.candidates(RATES).into_iter().map(candidate).collect();
        tune(&mut emoji, arm.on_emoji(), &UNTRAINED, candidates, say)
    })?;

    let arms: Vec<(u64, Arm, Settings)> = effort
        .seeds()
        .into_iter()
        .flat_map(|seed| {
            let tuned = Arm::ALL.into_iter().zip(&tuning);
            tuned.map(move |(arm, tuning)| (seed, arm, arm.candidates(RATES)[tuning.chosen()]))
        })
        .collect();
    let mut rows = Vec::new();
    let metrics = share(&arms, |&(seed, arm, settings)| {
        let experiment = experiment(&base, arm, half, settings);
        let outcome = emoji.arm(arm.on_emoji(), seed, experiment, say)?;
        let at_half = emoji.checkpoint(arm.on_emoji(), seed, &outcome, half)?;
        if seed == FIRST_SEED {
            rows.push((arm, Artist::Student.draw(&outcome, Subject::EachKind)?));
        }
        let at_half = with_sum(at_half).into_iter();
        let mut metrics: Metrics = at_half.map(|(key, v)| (format!("half/{key}"), v)).collect();
        metrics.extend(with_sum(outcome.metrics));
        Ok((arm.on_emoji(), metrics))
    })?;
    // In the order of the table, whichever was finished first.
    rows.sort_by_key(|(arm, _)| *arm as usize);
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Ok((Measured { metrics, tuning }, rows))
}

/// What arms chose their settings by, as a metric.
fn with_sum(mut metrics: Metrics) -> Metrics {
    metrics.insert("sum".into(), UNTRAINED.sum_of(&metrics));
    metrics
}

fn experiment(base: &Experiment, arm: Arm, half: u64, settings: Settings) -> Experiment {
    let mut cold = cold_start(base, 2 * half);
    cold.student.num_steps = 1;
    cold.optim.generator.lr = Curve::Constant(settings.lr);
    cold.events.checkpoint_every = half;
    cold.events.keep_checkpoints = 2;
    if let Method::Dmdr(dmdr) = &mut cold.method {
        dmdr.dm.real_scale = arm.real_scale(settings, half);
        dmdr.dm.renoise = arm.renoise(settings, half);
        dmdr.score.renoise = arm.renoise(settings, half);
    }
    cold
}
