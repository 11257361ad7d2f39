//! Fig. 7: with a dose of the fake score's LoRA the real score overlaps with the fake one from the start.

use dmdr_config::{Curve, DistributionMatching, Dmdr, Score, TimeDistribution};
use dmdr_report::{Curve as Drawn, curves};
use dmdr_world::Mixture;

use super::{Effort, FIRST_SEED, Picture, Report};
use crate::{
    LabError,
    plane::{self, PlaneArm, PlaneOutcome, PlaneTeacher},
    study::{Claim, Column, Metrics, Results, Study},
    units::Units,
};

const PLAIN: &str = "DMD";
const DYNADG: &str = "DMD + DynaDG";

fn study() -> Study {
    let claim = |text: &str, metric| Claim {
        text: text.to_owned(),
        metric,
        better: DYNADG,
        worse: PLAIN,
        higher_is_better: true,
    };
    Study {
        name: "fig7",
        title: "Fig. 7: overlap of real and fake distribution",
        setup: "On the plane: a ring of eight modes, a trained denoiser as teacher, the fake score a LoRA on it, a one-step student \
            that starts as the teacher. DynaDG gives the real score .75 of the LoRA at first and none after half of the \
            training. Overlap: what real and fake score would sample, counted in 24 x 24 squares, sum of the smaller share. \
            Direction: mean cosine between the difference of the two predictions, as the method takes it, and the exact \
            difference between the student's own distribution (its samples) and the data.",
        arms: vec![PLAIN, DYNADG],
        columns: vec![
            Column::new("overlap", "overlap, mean over the first half"),
            Column::new("cosine", "direction, mean over the first half"),
            Column::new("half_kl", "KL(data, student) at half time"),
            Column::new("forward_kl", "KL(data, student) at the end"),
        ],
        paper: "An illustration: without the LoRA in the real branch the distributions of real and fake score hardly overlap at \
            first and the gradient is unreliable; with it they do. (No numbers.)",
        claims: vec![
            claim(
                "real and fake distribution overlap more with DynaDG",
                "overlap",
            ),
            claim(
                "the gradient's direction is more accurate with DynaDG",
                "cosine",
            ),
            Claim {
                higher_is_better: false,
                ..claim(
                    "the student is nearer to the data at half time with DynaDG",
                    "half_kl",
                )
            },
        ],
    }
}

fn arm(name: &str, num_updates: u64) -> PlaneArm {
    PlaneArm {
        dmdr: Dmdr {
            num_updates,
            batch_size: 256,
            ttur: 3,
            dm: DistributionMatching {
                real_scale: if name == DYNADG {
                    Curve::Cosine {
                        from: 0.75,
                        to: 0.0,
                        over: num_updates / 2,
                    }
                } else {
                    Curve::Constant(0.0)
                },
                renoise: TimeDistribution::Uniform,
                // Per-sample normalisation moves the fixed point in two dimensions.
                normalize: false,
                ..DistributionMatching::default()
            },
            score: Score::default(),
            rl: None,
        },
        optim: plane::optim(5e-4, 2e-3),
        reward: None,
        num_steps: 1,
        rank: Some(16),
        snapshot_every: num_updates / 10,
        has_probes: true,
    }
}

pub(super) fn run(
    units: &Units,
    effort: Effort,
    say: &mut dyn FnMut(&str),
) -> Result<Report, LabError> {
    let study = study();
    let mixture = Mixture::ring(8, 0.75, 0.08);
    let (pretraining, updates) = if effort.is_quick {
        (300, 40)
    } else {
        (1500, 300)
    };
    let mut results = Results::default();
    let mut pictures = Vec::new();
    for seed in effort.seeds() {
        let mut teacher = None;
        let mut lines = Vec::new();
        for &name in &study.arms {
            let arm = arm(name, updates);
            let settings = format!("{pretraining} {arm:?}");
            let outcome: PlaneOutcome = units.get(name, seed, &settings, || {
                say(&format!("{name}, seed {seed}"));
                if teacher.is_none() {
                    teacher = Some(PlaneTeacher::train(&mixture, pretraining, seed)?);
                }
                let teacher = teacher.as_ref().expect("just trained");
                plane::train(&mixture, teacher, &arm, seed)
            })?;
            lines.push((name, outcome.clone()));
            results.push(name, metrics(&outcome, updates / 2));
        }
        if seed == FIRST_SEED {
            pictures = charts(&lines);
        }
    }
    Ok(Report {
        study,
        results,
        tuning: Vec::new(),
        pictures,
    })
}

fn metrics(outcome: &PlaneOutcome, half: u64) -> Metrics {
    let first_half = || {
        let snapshots = outcome.snapshots.iter();
        snapshots.filter(move |snapshot| 0 < snapshot.update && snapshot.update <= half)
    };
    let mean = |number: fn(&plane::Probe) -> f64| {
        let probes: Vec<f64> = first_half()
            .filter_map(|snapshot| snapshot.probe.as_ref().map(number))
            .collect();
        probes.iter().sum::<f64>() / probes.len() as f64
    };
    let kl = |snapshot: Option<&plane::Snapshot>| {
        snapshot.map_or(f64::NAN, |snapshot| snapshot.divergences.forward)
    };
    Metrics::from([
        ("overlap".into(), mean(|probe| probe.overlap)),
        ("cosine".into(), mean(|probe| probe.cosine)),
        ("half_kl".into(), kl(first_half().next_back())),
        ("forward_kl".into(), kl(outcome.snapshots.last())),
    ])
}

fn charts(lines: &[(&str, PlaneOutcome)]) -> Vec<(String, Picture)> {
    let draw = |title: &str, number: fn(&plane::Probe) -> f64| {
        let drawn: Vec<Drawn> = lines
            .iter()
            .map(|(name, outcome)| Drawn {
                name: (*name).to_owned(),
                points: outcome
                    .snapshots
                    .iter()
                    .filter_map(|snapshot| {
                        let probe = snapshot.probe.as_ref()?;
                        Some((snapshot.update as f64, number(probe)))
                    })
                    .collect(),
                band: Vec::new(),
            })
            .collect();
        let picture = Picture::Svg(curves(title, "update", &drawn));
        (format!("{title} over updates, first seed"), picture)
    };
    vec![
        draw("Overlap of real and fake distribution", |probe| {
            probe.overlap
        }),
        draw("Cosine with the exact gradient", |probe| probe.cosine),
    ]
}
