//! Table 6: how different the images of one prompt are.

use dmdr_train::Observer;

use super::{
    Effort, Report,
    joint_stage::{DISTIL, JointStage, PAIRS, SETUP},
};
use crate::{
    LabError,
    study::{Claim, Column, Results, Study},
    units::Units,
};

const TEACHER: &str = "teacher, 50 evaluations";
const DMDR: &str = PAIRS[0].1;

fn study() -> Study {
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
        setup: SETUP,
        arms: vec![TEACHER, DISTIL, DMDR],
        columns: vec![
            Column::new("diversity", "diversity"),
            Column::new("geneval/overall", "GenEval"),
            Column::new("preference_heldout", "preference (held out)"),
        ],
        paper: "LPIPS between images of one prompt: teacher .6480, DMD .5664, DMD2 .5832, DMDR .5513. Here it is the mean \
            distance of World-CLIP image features over three seeds of noise; DMD2 is not among the methods yet.",
        claims: vec![above(TEACHER, DISTIL), above(DISTIL, DMDR)],
    }
}

pub(super) fn run(
    units: &Units,
    effort: Effort,
    observer: &mut dyn Observer,
    say: &mut dyn FnMut(&str),
) -> Result<Report, LabError> {
    let mut stage = JointStage::new(units, effort, observer)?;
    let mut results = Results::default();
    for seed in effort.seeds() {
        results.push(TEACHER, stage.teacher(seed, say)?);
        for arm in [DISTIL, DMDR] {
            results.push(arm, stage.outcome(arm, seed, say)?.metrics);
        }
    }
    Ok(Report {
        study: study(),
        results,
        pictures: Vec::new(),
    })
}
