//! The arms of a study on the plane, all from one teacher a seed.

use crate::plane::mixture::Mixture;

use super::{PlaneArm, PlaneOutcome, PlaneTeacher, train};
use crate::{
    LabError,
    units::{Units, share},
};

/// Arms by name with all seeds, seed by seed, made together with other processes that do the same; `pretraining` updates
/// make a teacher.
pub(crate) fn outcomes<'a>(
    units: &Units,
    mixture: &Mixture,
    pretraining: u64,
    arms: &[(&'a str, PlaneArm)],
    seeds: &[u64],
    say: &mut dyn FnMut(&str),
) -> Result<Vec<(&'a str, u64, PlaneOutcome)>, LabError> {
    let pairs: Vec<(u64, &(&'a str, PlaneArm))> = seeds
        .iter()
        .flat_map(|seed| arms.iter().map(|arm| (*seed, arm)))
        .collect();
    let mut teachers: Option<(u64, PlaneTeacher)> = None;
    share(&pairs, |&(seed, (name, arm))| {
        let settings = format!("{pretraining} {arm:?}");
        let outcome = units.get(name, seed, &settings, || {
            say(&format!("{name}, seed {seed}"));
            let teacher = match teachers.take() {
                Some((of, teacher)) if of == seed => teacher,
                _ => PlaneTeacher::train(mixture, pretraining, seed)?,
            };
            let (_, teacher) = teachers.insert((seed, teacher));
            train(mixture, teacher, arm, seed)
        })?;
        Ok((*name, seed, outcome))
    })
}
