//! Table 5: distillation, reinforcement learning, and both, for three algorithms, from one cold-started student.

use dmdr_config::{Dpo, Experiment, Groups, Grpo, RlAlgorithm};
use dmdr_eval::EvalSet;
use dmdr_train::Observer;
use dmdr_world::Split;

use super::{Effort, Report};
use crate::{
    LabError,
    emoji::{Emoji, EmojiOutcome, cold_start, joint, rl_only},
    study::{Claim, Column, Results, Study},
    units::Units,
};

/// The demo's experiment, which all arms share.
const BASE: &str = "configs/demo.toml";
const INIT: &str = "cold start";
const DISTIL: &str = "distil only";
/// Algorithm, reinforcement learning alone, and with distillation.
const PAIRS: [(&str, &str, &str); 3] = [
    ("refl", "ReFL only", "distil + ReFL"),
    ("dpo", "DPO only", "distil + DPO"),
    ("grpo", "GRPO only", "distil + GRPO"),
];
/// Updates of the cold start, and of every arm after it.
const COLD: u64 = 160;
const UPDATES: u64 = 150;

fn study() -> Study {
    Study {
        name: "table5",
        title: "Table 5: distillation and reinforcement learning, apart and together",
        setup: "On the emoji world: from one cold-started student a seed, every arm has the same number of updates on the same \
            batches. \"Only\" arms have their authors' regulariser instead of distribution matching: ReFL a pretraining loss \
            on true images, DPO its frozen reference, GRPO a KL to that reference. Rewards are World-CLIP and the preference \
            model; the held-out preference model is trained on by no arm. 4 network evaluations an image, test prompts.",
        arms: [INIT, DISTIL]
            .into_iter()
            .chain(PAIRS.iter().flat_map(|(_, only, both)| [*only, *both]))
            .collect(),
        columns: vec![
            Column {
                key: "geneval/overall",
                title: "GenEval",
            },
            Column {
                key: "world_clip",
                title: "World-CLIP (trained)",
            },
            Column {
                key: "preference",
                title: "preference (trained)",
            },
            Column {
                key: "preference_heldout",
                title: "preference (held out)",
            },
            Column {
                key: "diversity",
                title: "diversity",
            },
        ],
        paper: "SD3-Medium, 512 px; CLIP / aesthetic / Pick / HPS:\n\n\
            | arm | CLIP | aesthetic | Pick | HPS |\n|---|---|---|---|---|\n\
            | cold start | 33.64 | 5.61 | 21.05 | 29.12 |\n\
            | distil only | 33.67 | 5.62 | 21.64 | 29.14 |\n\
            | ReFL only | 33.19 | 5.88 | 22.30 | 31.27 |\n\
            | distil + ReFL | 34.62 | 6.18 | 22.76 | 32.90 |\n\
            | DPO only | 33.96 | 5.79 | 21.76 | 29.58 |\n\
            | distil + DPO | 33.96 | 5.97 | 21.99 | 30.60 |\n\
            | GRPO only | 33.91 | 5.79 | 21.80 | 29.44 |\n\
            | distil + GRPO | 34.01 | 5.83 | 22.01 | 30.62 |",
        claims: claims(),
    }
}

/// Distillation with each algorithm is ahead of either alone, on what no arm was trained on.
fn claims() -> Vec<Claim> {
    let mut claims = Vec::new();
    for (metric, title) in [
        ("preference_heldout", "held-out preference"),
        ("geneval/overall", "GenEval"),
    ] {
        for (_, only, both) in PAIRS {
            for worse in [only, DISTIL] {
                claims.push(Claim {
                    text: format!("{title}: {both} above {worse}"),
                    metric,
                    better: both,
                    worse,
                    higher_is_better: true,
                });
            }
        }
    }
    claims
}

/// The algorithm, its weight beside distribution matching, and `ReFL`'s weight of the pretraining loss when alone.
fn algorithm(name: &str, is_alone: bool) -> (RlAlgorithm, f64, f64) {
    let groups = Groups {
        num_prompts: 4,
        size: 6,
    };
    match name {
        "refl" => (RlAlgorithm::Refl, 0.3, 1.0),
        "dpo" => (
            RlAlgorithm::Dpo(Dpo {
                groups,
                beta: 100.0,
            }),
            0.3,
            0.0,
        ),
        _ => {
            let grpo = Grpo {
                groups,
                kl: if is_alone { 0.04 } else { 0.0 },
                ..Grpo::default()
            };
            (RlAlgorithm::Grpo(grpo), 0.3, 0.0)
        }
    }
}

pub(super) fn run(
    units: &Units,
    effort: Effort,
    observer: &mut dyn Observer,
    say: &mut dyn FnMut(&str),
) -> Result<Report, LabError> {
    let mut base = Experiment::load(BASE, &[])?;
    base.events.sample_every = 0;
    base.events.evaluate_every = 0;
    let (cold, updates, num_prompts) = if effort.is_quick {
        (2, 2, 6)
    } else {
        (COLD, UPDATES, 120)
    };
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
        let mut measure = |arm: &str, experiment: Experiment| -> Result<EmojiOutcome, LabError> {
            say(&format!("{arm}, seed {seed}"));
            let outcome = emoji.arm(arm, seed, experiment)?;
            let seeds = results.arms.entry(arm.to_owned()).or_default();
            seeds.push(outcome.metrics.clone());
            Ok(outcome)
        };
        let init = measure(INIT, cold_start(&base, cold))?.run;
        measure(DISTIL, joint(&base, &init, updates, None))?;
        for (name, only, both) in PAIRS {
            let (rl, _, pretraining) = algorithm(name, true);
            measure(only, rl_only(&base, &init, updates, rl, pretraining))?;
            let (rl, weight, _) = algorithm(name, false);
            measure(both, joint(&base, &init, updates, Some((weight, rl))))?;
        }
    }
    Ok(Report {
        study: study(),
        results,
        pictures: Vec::new(),
    })
}
