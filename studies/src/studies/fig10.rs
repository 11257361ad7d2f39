//! Fig. 10: whether a reward is hacked, with reinforcement learning's own regulariser and with distribution matching.

use dmdr_report::{Curve, curves};
use dmdr_train::Observer;

use super::{
    arm::Arm,
    joint_stage::{INIT, JointStage, WATCHED as ARMS},
};
use crate::report::{Effort, FIRST_SEED, Picture, Report};
use crate::{
    LabError,
    emoji::{Artist, EmojiOutcome, Subject},
    picture,
    study::{Claim, Column, Metrics, Results, Study},
    units::Units,
};

/// The reward whose curve is shown.
const REWARD: &str = "preference";

fn study(setup: String) -> Study {
    let [only, both] = ARMS.map(Arm::name);
    let claim = |text: &str, metric, higher_is_better| Claim {
        text: text.to_owned(),
        metric,
        better: both,
        worse: only,
        higher_is_better,
    };
    Study {
        name: "fig10",
        title: "Fig. 10: reward hacking, with the reward's own regulariser and with distribution matching",
        setup,
        arms: vec![INIT, only, both],
        columns: vec![
            Column::new("preference", "preference (trained)"),
            Column::new("preference_heldout", "preference (held out)"),
            Column::new(
                "equal/preference_heldout",
                "held out at equal trained reward",
            ),
            Column::new("equal/geneval/overall", "GenEval at equal trained reward"),
            Column::new("spread", "reward's spread in a batch"),
            Column::new("diversity", "diversity"),
        ],
        paper: r#"Reward curves of every image over the training. With ReFL alone the rewards rise together and their
variance collapses, the mark of hacking. With distribution matching they stay spread.

"At equal trained reward": both arms are measured on test prompts at several points of their way.
One arm ends lower in the trained preference. The other is interpolated at that value."#,
        claims: vec![
            claim(
                "held-out preference at equal trained reward is higher with distribution matching",
                "equal/preference_heldout",
                true,
            ),
            claim(
                "GenEval at equal trained reward is higher with distribution matching",
                "equal/geneval/overall",
                true,
            ),
            claim(
                "rewards stay more spread with distribution matching",
                "spread",
                true,
            ),
        ],
    }
}

pub(super) fn run(
    units: &Units,
    effort: Effort,
    observer: &mut dyn Observer,
    say: &mut dyn FnMut(&str),
) -> Result<Report, LabError> {
    let mut stage = JointStage::new(units, effort, observer)?;
    let seeds = effort.seeds();
    let all = stage.outcomes(&ARMS, &seeds, say)?;
    let mut results = Results::default();
    let mut pictures = Vec::new();
    for (seed, outcomes) in seeds.into_iter().zip(all) {
        let init = stage.init(seed, say)?.metrics;
        let mut ways = Vec::new();
        for (arm, outcome) in ARMS.into_iter().zip(&outcomes) {
            let mut way = vec![init.clone()];
            way.extend(stage.way(arm, seed, outcome)?);
            way.push(outcome.metrics.clone());
            ways.push(way);
        }
        let level = ways
            .iter()
            .map(|way| way.last().expect("its end")[REWARD])
            .fold(f64::INFINITY, f64::min);
        results.push(INIT, init);
        for ((arm, outcome), way) in ARMS.into_iter().zip(&outcomes).zip(&ways) {
            let mut metrics = outcome.metrics.clone();
            metrics.insert("spread".into(), spread(outcome));
            for key in ["preference_heldout", "geneval/overall"] {
                metrics.insert(format!("equal/{key}"), at_level(way, level, key));
            }
            results.push(arm.name(), metrics);
        }
        if seed == FIRST_SEED {
            pictures = charts(&outcomes, &ways);
            let rows = outcomes
                .iter()
                .map(|outcome| Artist::Student.draw(outcome, Subject::EachKind))
                .collect::<Result<Vec<_>, _>>()?;
            pictures.push((
                "A prompt of each kind at the end: ReFL only above, distil + ReFL below, same noise, first seed".into(),
                Picture::Pixels(picture::samples(&rows)),
            ));
        }
    }
    Ok(Report {
        study: study(stage.setup()),
        results,
        seeds: vec![(None, effort.seeds())],
        tuning: stage.tunings(&ARMS, say)?,
        pictures,
    })
}

/// Standard deviation of the trained reward within a batch, over the last fifth of the training.
fn spread(outcome: &EmojiOutcome) -> f64 {
    let curve = &outcome.curves[&format!("reward/{REWARD}/std")];
    let last = &curve[curve.len() - curve.len().div_ceil(5)..];
    last.iter().map(|(_, value)| value).sum::<f64>() / last.len() as f64
}

/// `key` where the way first reaches `level` in the trained reward, between two measured points.
fn at_level(way: &[Metrics], level: f64, key: &str) -> f64 {
    for pair in way.windows(2) {
        let (low, high) = (pair[0][REWARD], pair[1][REWARD]);
        if low < level && level <= high {
            let share = (level - low) / (high - low);
            return pair[0][key] + share * (pair[1][key] - pair[0][key]);
        }
    }
    way.last().expect("its end")[key]
}

fn charts(outcomes: &[EmojiOutcome], ways: &[Vec<Metrics>]) -> Vec<(String, Picture)> {
    let number = |outcome: &EmojiOutcome, statistic: &str| {
        outcome.curves[&format!("reward/{REWARD}/{statistic}")].clone()
    };
    let rewards: Vec<Curve> = ARMS
        .into_iter()
        .zip(outcomes)
        .map(|(arm, outcome)| {
            let (low, high) = (number(outcome, "min"), number(outcome, "max"));
            Curve {
                name: arm.name().to_owned(),
                points: number(outcome, "mean")
                    .iter()
                    .map(|(step, value)| (*step as f64, *value))
                    .collect(),
                band: low
                    .iter()
                    .zip(&high)
                    .map(|((step, low), (_, high))| (*step as f64, *low, *high))
                    .collect(),
            }
        })
        .collect();
    let hacking: Vec<Curve> = ARMS
        .into_iter()
        .zip(ways)
        .map(|(arm, way)| Curve {
            name: arm.name().to_owned(),
            points: way
                .iter()
                .map(|metrics| (metrics[REWARD], metrics["geneval/overall"]))
                .collect(),
            band: Vec::new(),
        })
        .collect();
    vec![
        (
            "Trained preference of the batch over updates: mean, smallest and largest, first seed"
                .into(),
            Picture::Svg(curves("Trained preference", "update", &rewards)),
        ),
        (
            "GenEval against the trained preference on the way, test prompts, first seed".into(),
            Picture::Svg(curves("GenEval", "trained preference", &hacking)),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_reward_is_interpolated() {
        let point = |reward: f64, geneval: f64| {
            Metrics::from([
                (REWARD.to_owned(), reward),
                ("geneval/overall".to_owned(), geneval),
            ])
        };
        let way = [point(0.5, 0.4), point(0.7, 0.6), point(0.9, 0.2)];
        let at = |level: f64| at_level(&way, level, "geneval/overall");
        assert!((at(0.6) - 0.5).abs() < 1e-12);
        assert!((at(0.85) - 0.3).abs() < 1e-12);
        assert!((at(0.9) - 0.2).abs() < 1e-12);
    }
}
