//! Fig. 4: distribution matching alone seeks one mode; with a reward it leaves the bad one and covers the good ones.

use dmdr_config::{
    Curve, DistributionMatching, Dmdr, FakeScoreLoss, ReinforcementLearning, RlAlgorithm,
    TimeDistribution,
};

use crate::plane::mixture::{Component, Mixture};
use crate::report::{Effort, FIRST_SEED, Picture, Report};
use crate::{
    LabError, picture,
    plane::{self, Bump, PlaneArm, PointReward, Snapshot},
    study::{Claim, Column, Metrics, Results, Study},
    units::Units,
};

const DMD: &str = "DMD";
const DMD_RL: &str = "DMD + ReFL";
/// The component that the reward is against: half of the data.
const BAD: usize = 0;

fn study() -> Study {
    Study {
        name: "fig4",
        title: "Fig. 4: modes that distribution matching drops and reinforcement learning covers",
        setup: r"On the plane: five Gaussian modes. One of them holds half of the data. The reward dislikes that one
and likes the other four. The real score is exact. A one-step student and its fake score are
perceptrons that start as denoisers of the data. Renoise times are drawn from Beta(1, 20), so mostly
small: there the reverse KL of Eq. 1 seeks modes.

Both arms have the same updates, batches and noise. They differ in the reward's weight: .02 in the
second half of one arm, and 0 otherwise. Settings were chosen on seeds below 100.

A mode is covered if it has at least a quarter of its due share of 40,000 samples within three
deviations of its centre. KL divergences to the data are estimated on a grid of 48 x 48 squares. The
picture shows densities from the start to the end of the training, first seed: DMD above, DMD + ReFL
below."
            .to_owned(),
        arms: vec![DMD, DMD_RL],
        columns: vec![
            Column::new("covered", "modes covered of 5"),
            Column::new("good_covered", "good modes covered of 4"),
            Column::new("bad_share", "share in the bad mode"),
            Column::new("reverse_kl", "KL(student, data)"),
            Column::new("forward_kl", "KL(data, student)"),
            Column::new("reward", "reward"),
        ],
        paper: r"Distribution matching alone falls into one mode, bad or not. With reinforcement learning the student
leaves the bad mode and covers those that the reward prefers. The paper draws the principle and has
no numbers.",
        claims: vec![
            Claim {
                text: "DMD + ReFL covers more modes than DMD".into(),
                metric: "covered",
                better: DMD_RL,
                worse: DMD,
                higher_is_better: true,
            },
            Claim {
                text: "DMD + ReFL covers more of the good modes".into(),
                metric: "good_covered",
                better: DMD_RL,
                worse: DMD,
                higher_is_better: true,
            },
            Claim {
                text: "DMD + ReFL leaves the bad mode".into(),
                metric: "bad_share",
                better: DMD_RL,
                worse: DMD,
                higher_is_better: false,
            },
        ],
    }
}

fn mixture() -> Mixture {
    let mode = |weight: f64, x: f64, y: f64| Component {
        weight,
        mean: [x, y],
        std: 0.06,
    };
    Mixture::new(vec![
        mode(4.0, -0.5, 0.0),
        mode(1.0, 0.1, 0.7),
        mode(1.0, 0.6, 0.4),
        mode(1.0, 0.6, -0.4),
        mode(1.0, 0.1, -0.7),
    ])
}

fn reward(mixture: &Mixture) -> PointReward {
    let bump = |(index, component): (usize, &Component)| Bump {
        center: component.mean,
        height: if index == BAD { -1.0 } else { 1.0 },
        width: 0.3,
    };
    PointReward(mixture.components().iter().enumerate().map(bump).collect())
}

fn arm(name: &str, mixture: &Mixture, num_updates: u64) -> PlaneArm {
    let renoise = TimeDistribution::Beta {
        a: Curve::Constant(1.0),
        b: Curve::Constant(20.0),
    };
    PlaneArm {
        dmdr: Dmdr {
            num_updates,
            batch_size: 256,
            ttur: 5,
            dm: DistributionMatching {
                renoise: renoise.clone(),
                // Per-sample normalisation moves the fixed point in two dimensions.
                normalize: false,
                ..DistributionMatching::default()
            },
            fake_score: FakeScoreLoss { renoise },
            rl: (name == DMD_RL).then_some(ReinforcementLearning {
                weight: Curve::Step {
                    from: 0.0,
                    to: 0.02,
                    at: num_updates / 2,
                },
                algorithm: RlAlgorithm::Refl,
            }),
        },
        optim: plane::optim(5e-4, 2e-3),
        reward: Some(reward(mixture)),
        num_steps: 1,
        rank: None,
        snapshot_every: num_updates / 4,
        has_probes: false,
    }
}

pub(super) fn run(
    units: &Units,
    effort: Effort,
    say: &mut dyn FnMut(&str),
) -> Result<Report, LabError> {
    let mixture = mixture();
    let (pretraining, updates) = if effort.is_quick {
        (300, 60)
    } else {
        (1500, 600)
    };
    let arms = [DMD, DMD_RL].map(|name| (name, arm(name, &mixture, updates)));
    let seeds = effort.seeds();
    let mut results = Results::default();
    let mut rows = Vec::new();
    for (name, seed, outcome) in plane::outcomes(units, &mixture, pretraining, &arms, &seeds, say)?
    {
        if seed == FIRST_SEED {
            let points = outcome.snapshots.iter().map(|s| s.points.clone());
            rows.push(points.collect());
        }
        let last = outcome.snapshots.last().expect("one at the end");
        results.push(name, metrics(last, &mixture));
    }
    let title = "Densities of the student over training: DMD above, DMD + ReFL below".to_owned();
    Ok(Report {
        study: study(),
        results,
        seeds: vec![(None, effort.seeds())],
        tuning: Vec::new(),
        pictures: vec![(title, Picture::Pixels(picture::densities(&rows)))],
    })
}

fn metrics(last: &Snapshot, mixture: &Mixture) -> Metrics {
    let covered = last.covered(mixture);
    let bad = mixture.components()[BAD];
    let bad_is_covered = last.shares[BAD] >= 0.25 * bad.weight;
    Metrics::from([
        ("covered".into(), covered as f64),
        (
            "good_covered".into(),
            (covered - usize::from(bad_is_covered)) as f64,
        ),
        ("bad_share".into(), last.shares[BAD]),
        ("reverse_kl".into(), last.divergences.reverse),
        ("forward_kl".into(), last.divergences.forward),
        ("reward".into(), last.reward.unwrap_or(f64::NAN)),
    ])
}
