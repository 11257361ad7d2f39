//! Table 4: what the two dynamics do for the cold start.

use dmdr_config::{Curve, Experiment, Method, TimeDistribution};
use dmdr_eval::EvalSet;
use dmdr_train::Observer;
use dmdr_world::Split;

use super::{Effort, Report};
use crate::{
    LabError,
    emoji::{self, Emoji, cold_start},
    study::{Claim, Column, Metrics, Results, Study},
    units::Units,
};

const VANILLA: &str = "vanilla DMD";
const DYNADG: &str = "+ DynaDG";
const DYNARS: &str = "+ DynaRS";
const STATIC: &str = "without dynamics";
/// Updates between the two checkpoints that are measured.
const HALF: u64 = 160;

fn study() -> Study {
    let mut claims = Vec::new();
    for (metric, title) in [
        ("geneval/overall", "GenEval"),
        ("world_clip", "World-CLIP"),
        ("preference_heldout", "preference"),
    ] {
        for (better, worse) in [(DYNARS, STATIC), (STATIC, VANILLA), (DYNARS, VANILLA)] {
            claims.push(Claim {
                text: format!("{title} at the second checkpoint: {better} above {worse}"),
                metric,
                better,
                worse,
                higher_is_better: true,
            });
        }
    }
    Study {
        name: "table4",
        title: "Table 4: the dynamics of the cold start",
        setup: "On the emoji world, distribution matching only, no reward. \"+ DynaDG\" gives the real score a dose of the fake \
            score's LoRA that decays from .375 to 0 up to the first checkpoint; \"+ DynaRS\" in addition draws renoise times \
            from a Beta that goes from (4, 1.5) to uniform; \"without dynamics\" keeps both at their first values for the \
            whole run. Same updates, batches and noise; measured at half time (1) and at the end (2), 4 network evaluations \
            an image, test prompts.",
        arms: vec![VANILLA, DYNADG, DYNARS, STATIC],
        columns: vec![
            Column::new("half/geneval/overall", "GenEval (1)"),
            Column::new("half/world_clip", "World-CLIP (1)"),
            Column::new("half/preference_heldout", "preference (1)"),
            Column::new("geneval/overall", "GenEval (2)"),
            Column::new("world_clip", "World-CLIP (2)"),
            Column::new("preference_heldout", "preference (2)"),
        ],
        paper: "SD3-Medium, 512 px, CLIP and HPS at 1000 and 2000 iterations:\n\n\
            | arm | CLIP (1) | HPS (1) | CLIP (2) | HPS (2) |\n|---|---|---|---|---|\n\
            | vanilla DMD | 31.56 | 27.01 | 32.55 | 28.45 |\n\
            | + DynaDG | 32.79 | 27.57 | 33.50 | 29.04 |\n\
            | + DynaRS | 33.17 | 27.83 | 33.64 | 29.12 |\n\
            | without dynamics | 32.66 | 27.26 | 33.02 | 28.85 |",
        claims,
    }
}

fn experiment(base: &Experiment, arm: &str, half: u64) -> Experiment {
    let mut cold = cold_start(base, 2 * half);
    cold.events.checkpoint_every = half;
    cold.events.keep_checkpoints = 2;
    if let Method::Dmdr(dmdr) = &mut cold.method {
        let anneal = |from: f64, to: f64| match arm {
            STATIC => Curve::Constant(from),
            _ => Curve::Cosine {
                from,
                to,
                over: half,
            },
        };
        dmdr.dm.real_scale = match arm {
            VANILLA => Curve::Constant(0.0),
            _ => anneal(0.375, 0.0), // of s_f = 1: the ratio of the authors' demo, .75 of 2
        };
        let renoise = match arm {
            VANILLA | DYNADG => TimeDistribution::Uniform,
            _ => TimeDistribution::Beta {
                a: anneal(4.0, 1.0),
                b: anneal(1.5, 1.0),
            },
        };
        dmdr.dm.renoise = renoise.clone();
        dmdr.score.renoise = renoise;
    }
    cold
}

pub(super) fn run(
    units: &Units,
    effort: Effort,
    observer: &mut dyn Observer,
    say: &mut dyn FnMut(&str),
) -> Result<Report, LabError> {
    let study = study();
    let base = emoji::base()?;
    let (half, num_prompts) = if effort.is_quick { (2, 6) } else { (HALF, 120) };
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
    let mut results = Results::default();
    for seed in effort.seeds() {
        for &arm in &study.arms {
            let outcome = emoji.arm(arm, seed, experiment(&base, arm, half), say)?;
            let at_half = emoji.checkpoint(arm, seed, &outcome, half)?;
            let mut metrics: Metrics = at_half
                .into_iter()
                .map(|(key, value)| (format!("half/{key}"), value))
                .collect();
            metrics.extend(outcome.metrics);
            results.push(arm, metrics);
        }
    }
    Ok(Report {
        study,
        results,
        tuning: Vec::new(),
        pictures: Vec::new(),
    })
}
