//! Table 6: how different the images of one prompt are.

use dmdr_train::Observer;

use super::{
    Effort, Picture, Report,
    arm::{Arm, Rl},
    joint_stage::{JointStage, TEACHER},
};
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
    let above = |better, worse| Claim {
        text: format!("diversity: {better} above {worse}"),
        metric: "diversity",
        better,
        worse,
        higher_is_better: true,
    };
    Study {
        name: "table6",
        title: "Table 6: diversity between the images of a prompt",
        setup,
        arms: vec![TEACHER, distil, dmdr],
        columns: vec![
            Column::new("diversity", "diversity"),
            Column::new("geneval/overall", "GenEval"),
            Column::new("preference_heldout", "preference (held out)"),
        ],
        paper: "LPIPS between images of one prompt: teacher .6480, DMD .5664, DMD2 .5832, DMDR .5513. Here it is the mean \
            distance of World-CLIP image features over three seeds of noise; DMD2 is not among the methods yet.",
        claims: vec![above(TEACHER, distil), above(distil, dmdr)],
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
        tuning: stage.tunings(&ARMS, say)?,
        pictures: vec![(
            "One prompt, six noises: teacher, distillation, distillation with ReFL, first seed"
                .into(),
            Picture::Pixels(picture::samples(&rows)),
        )],
    })
}
