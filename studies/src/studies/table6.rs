//! Table 6: how different the images of one prompt are.

use dmdr_train::Observer;

use super::{
    arm::{Arm, Rl},
    joint_stage::{JointStage, TEACHER},
};
use crate::report::{Effort, Picture, Report};
use crate::{
    LabError,
    emoji::{Artist, Subject},
    picture,
    study::{Claim, Column, Results, Study},
    units::Units,
};

const ARMS: [Arm; 2] = [Arm::Distil, Arm::Both(Rl::Refl)];

fn study(setup: String) -> Study {
    let [distil, dmdr] = ARMS.map(Arm::name);
    let above = |(metric, title): (_, &str), better, worse| Claim {
        text: format!("{title}: {better} above {worse}"),
        metric,
        better,
        worse,
        higher_is_better: true,
    };
    let all = ("diversity", "diversity");
    let correct = ("diversity_correct", "diversity of correct images");
    Study {
        name: "table6",
        title: "Table 6: diversity between the images of a prompt",
        setup,
        arms: vec![TEACHER, distil, dmdr],
        columns: vec![
            Column::new("diversity", "diversity"),
            Column::new("diversity_correct", "diversity of correct images"),
            Column::new("geneval/overall", "GenEval"),
            Column::new("preference_heldout", "preference (held out)"),
        ],
        paper: r"LPIPS between images of one prompt:

| teacher | DMD | DMD2 | DMDR |
|---|---|---|---|
| .6480 | .5664 | .5832 | .5513 |

Here diversity is the mean distance of World-CLIP image features over three seeds of noise. It takes
a wrong object for variety. So a second column has the images alone that the judge finds correct.
DMD2 has not been trained to the end here yet.",
        claims: [all, correct]
            .into_iter()
            .flat_map(|metric| [above(metric, TEACHER, distil), above(metric, distil, dmdr)])
            .collect(),
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
    let outcomes = stage.outcomes(&ARMS, &seeds, say)?;
    let teachers = stage.teachers(&seeds, say)?;
    let mut results = Results::default();
    let [distil, dmdr] = &outcomes[0][..] else {
        unreachable!("two arms")
    };
    let rows = [
        Artist::Teacher.draw(distil, Subject::OnePrompt)?,
        Artist::Student.draw(distil, Subject::OnePrompt)?,
        Artist::Student.draw(dmdr, Subject::OnePrompt)?,
    ];
    for (teacher, outcomes) in teachers.into_iter().zip(outcomes) {
        results.push(TEACHER, teacher);
        for (arm, outcome) in ARMS.into_iter().zip(outcomes) {
            results.push(arm.name(), outcome.metrics);
        }
    }
    Ok(Report {
        study: study(stage.setup()),
        results,
        seeds: vec![(None, effort.seeds())],
        tuning: stage.tunings(&ARMS, say)?,
        pictures: vec![(
            "One prompt, six noises: teacher, distillation, distillation with ReFL, first seed"
                .into(),
            Picture::Pixels(picture::samples(&rows)),
        )],
    })
}
