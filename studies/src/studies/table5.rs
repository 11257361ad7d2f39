//! Table 5: distillation, reinforcement learning, and both, for three algorithms, from one cold-started student.

use dmdr_train::Observer;

use super::{
    arm::{Arm, Rl},
    joint_stage::{INIT, JointStage, TEACHER},
};
use crate::report::{Effort, FIRST_SEED, Picture, Report};
use crate::{
    LabError,
    emoji::{Artist, Subject},
    picture,
    study::{Claim, Column, Results, Study},
    units::Units,
};

fn study(setup: &str) -> Study {
    Study {
        name: "table5",
        title: "Table 5: distillation and reinforcement learning, apart and together",
        setup: format!(
            "{setup}\n\n\"Well formed\" stands in the place of an aesthetic score. It is the share of images that are\n\
             background and whole objects alone, as the judge sees them, whatever the prompt."
        ),
        arms: [TEACHER, INIT]
            .into_iter()
            .chain(Arm::ALL.map(Arm::name))
            .collect(),
        columns: vec![
            Column::new("geneval/overall", "GenEval"),
            Column::new("world_clip", "World-CLIP (trained)"),
            Column::new("preference", "preference (trained)"),
            Column::new("preference_heldout", "preference (held out)"),
            Column::new("well_formed", "well formed (held out)"),
            Column::new("diversity", "diversity"),
        ],
        paper: "SD3-Medium, 512 px:\n\n\
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

/// Distillation with each algorithm is ahead of either alone, on what no arm was trained on, and with `ReFL`, the paper's
/// choice, ahead of the teacher.
fn claims() -> Vec<Claim> {
    let mut claims = Vec::new();
    for (metric, title) in [
        ("preference_heldout", "held-out preference"),
        ("well_formed", "well formed"),
        ("geneval/overall", "GenEval"),
    ] {
        for rl in [Rl::Refl, Rl::Dpo, Rl::Grpo] {
            let better = Arm::Both(rl).name();
            let teacher = (rl == Rl::Refl).then_some(TEACHER);
            let parts = [Arm::Only(rl).name(), Arm::Distil.name()];
            for worse in parts.into_iter().chain(teacher) {
                claims.push(Claim {
                    text: format!("{title}: {better} above {worse}"),
                    metric,
                    better,
                    worse,
                    higher_is_better: true,
                });
            }
        }
    }
    claims
}

pub(super) fn run(
    units: &Units,
    effort: Effort,
    observer: &mut dyn Observer,
    say: &mut dyn FnMut(&str),
) -> Result<Report, LabError> {
    let mut stage = JointStage::new(units, effort, observer)?;
    let seeds = effort.seeds();
    let outcomes = stage.outcomes(&Arm::ALL, &seeds, say)?;
    let teachers = stage.teachers(&seeds, say)?;
    let mut results = Results::default();
    for teacher in teachers {
        results.push(TEACHER, teacher);
    }
    let mut rows = Vec::new();
    for (seed, outcomes) in seeds.into_iter().zip(outcomes) {
        let init = stage.init(seed, say)?;
        if seed == FIRST_SEED {
            rows.push(Artist::Teacher.draw(&init, Subject::EachKind)?);
            for outcome in [&init].into_iter().chain(&outcomes) {
                rows.push(Artist::Student.draw(outcome, Subject::EachKind)?);
            }
        }
        results.push(INIT, init.metrics);
        for (arm, outcome) in Arm::ALL.into_iter().zip(outcomes) {
            results.push(arm.name(), outcome.metrics);
        }
    }
    Ok(Report {
        study: study(&stage.setup()),
        results,
        seeds: vec![(None, effort.seeds())],
        tuning: stage.tunings(&Arm::ALL, say)?,
        pictures: vec![(
            "A prompt of each kind: the teacher, then the arms in the order of the table, same noise, first seed".into(),
            Picture::Pixels(picture::samples(&rows)),
        )],
    })
}
