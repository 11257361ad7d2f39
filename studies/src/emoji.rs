//! Arms on the emoji world: whole distillations, measured on test prompts.

mod artist;
mod outcome;
mod probe;

use std::collections::BTreeMap;
use std::path::Path;

use dmdr_config::{
    Curve, Experiment, Method, NetId, ReinforcementLearning, RlAlgorithm, RlAlone, TimeDistribution,
};
use dmdr_eval::{EvalSet, Sampler, metric_names};
use dmdr_events::{Kind, OwnedRun, RunDir};
use dmdr_train::{Distillation, FinishedRun, Observer, Outcome};

use crate::{LabError, study::Metrics, units::Units};

pub use artist::{Artist, Subject};
pub use outcome::EmojiOutcome;
pub use probe::{Probe, probe};

/// Trains and measures arms in a folder.
pub struct Emoji<'a> {
    /// What is finished.
    pub units: &'a Units,
    /// What all arms have in common.
    pub base: Experiment,
    /// What students are measured on.
    pub set: EvalSet,
    /// Told what happens.
    pub observer: &'a mut dyn Observer,
}

impl Emoji<'_> {
    /// Trains `experiment` as `arm` with `seed`, goes on where it was stopped, and measures the student; `say` hears of
    /// it if there is anything to do.
    ///
    /// # Errors
    /// A training or an evaluation that fails, or [`LabError::Interrupted`].
    pub fn arm(
        &mut self,
        arm: &str,
        seed: u64,
        mut experiment: Experiment,
        say: &mut dyn FnMut(&str),
    ) -> Result<EmojiOutcome, LabError> {
        // Also while other processes are at everything that is left.
        if self.observer.interrupted() {
            return Err(LabError::Interrupted);
        }
        experiment.name = folder_name(arm, seed);
        experiment.seed = seed;
        experiment.check()?;
        let root = self.units.folder().join("runs");
        let settings = settings(&self.set, &experiment.to_toml());
        let Self {
            units,
            set,
            observer,
            ..
        } = self;
        units.get(arm, seed, &settings, || {
            say(&format!("{arm}, seed {seed}"));
            let run = train(&root, &experiment, *observer)?;
            let finished = FinishedRun::open(run.path())?;
            Ok(EmojiOutcome {
                metrics: measure(&finished, &finished.student(), set)?,
                curves: curves(&run)?,
                run: run.path().to_owned(),
            })
        })
    }

    /// Measures the averaged student in the checkpoint after `update` updates of a finished run.
    ///
    /// # Errors
    /// As for [`Self::arm`].
    pub fn checkpoint(
        &mut self,
        arm: &str,
        seed: u64,
        of: &EmojiOutcome,
        update: u64,
    ) -> Result<Metrics, LabError> {
        let run = RunDir::open(&of.run)?;
        let config =
            std::fs::read_to_string(run.config()).map_err(LabError::io("read", run.path()))?;
        let settings = settings(&self.set, &config);
        let name = format!("{arm}, after {update}");
        self.units.get(&name, seed, &settings, || {
            let weights = run.checkpoint(update).join("student.average.safetensors");
            let finished = FinishedRun::with_student(run.path(), &weights)?;
            measure(&finished, &finished.student(), &self.set)
        })
    }

    /// Measures the teacher of a finished run.
    ///
    /// # Errors
    /// As for [`Self::arm`].
    pub fn teacher(&mut self, of: &EmojiOutcome) -> Result<Metrics, LabError> {
        let settings = settings(&self.set, &format!("{:?}", self.base.teacher));
        self.units.get("teacher", 0, &settings, || {
            let finished = FinishedRun::open(&of.run)?;
            measure(&finished, &finished.teacher(), &self.set)
        })
    }
}

/// What `model` is measured with: with other prompts or metrics it is measured again.
fn settings(set: &EvalSet, model: &str) -> String {
    let metrics: Vec<&str> = metric_names().collect();
    format!("{set:?}, {}\n{model}", metrics.join(", "))
}

/// "distil + ReFL" with seed 3 is `distil-refl-seed-3`.
fn folder_name(arm: &str, seed: u64) -> String {
    let words: Vec<String> = arm
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect();
    format!("{}-seed-{seed}", words.join("-"))
}

/// The run in `root`, finished; one that was made with other settings is replaced.
fn train(
    root: &Path,
    experiment: &Experiment,
    observer: &mut dyn Observer,
) -> Result<RunDir, LabError> {
    let path = root.join(&experiment.name);
    let same = std::fs::read_to_string(path.join("config.toml"))
        .is_ok_and(|text| text == experiment.to_toml());
    if same && path.join("student.safetensors").is_file() {
        return Ok(RunDir::open(&path)?);
    }
    let run = if same {
        OwnedRun::open(&path)?
    } else {
        let run = OwnedRun::replace(root, &experiment.name)?;
        run.write_config(&experiment.to_toml())?;
        run
    };
    let outcome = Distillation::new(experiment)?.run(&run, same, &BTreeMap::new(), observer)?;
    match outcome {
        Outcome::Finished => Ok(RunDir::open(&path)?),
        Outcome::Interrupted { .. } => Err(LabError::Interrupted),
    }
}

fn measure(
    finished: &FinishedRun,
    sampler: &dyn Sampler,
    set: &EvalSet,
) -> Result<Metrics, LabError> {
    let evaluator = finished.evaluator()?;
    let evaluation = evaluator.evaluate(sampler, set, &mut |_, _| {})?;
    Ok(evaluation.measured.means())
}

/// The rewards that were trained on, over the updates.
fn curves(run: &RunDir) -> Result<BTreeMap<String, Vec<(u64, f64)>>, LabError> {
    let mut curves: BTreeMap<String, Vec<(u64, f64)>> = BTreeMap::new();
    for record in dmdr_events::read(run.metrics())? {
        if record.kind != Kind::Train {
            continue;
        }
        for (key, value) in record.values {
            if key.starts_with("reward/") {
                curves.entry(key).or_default().push((record.update, value));
            }
        }
    }
    Ok(curves)
}

/// The demo's experiment, which all arms share, without anything that only watches: no sheets, no periodic evaluation,
/// no guard.
///
/// # Errors
/// A config that cannot be read or is invalid.
pub fn base() -> Result<Experiment, LabError> {
    let mut base = Experiment::load("configs/demo.toml", &[])?;
    base.events.sample_every = 0;
    base.events.evaluate_every = 0;
    base.guard = None;
    Ok(base)
}

/// The cold start of `base`: distribution matching with its dynamics, which are over by the end, without rewards, for
/// `num_updates`.
pub fn cold_start(base: &Experiment, num_updates: u64) -> Experiment {
    let mut cold = base.clone();
    cold.rewards.clear();
    if let Method::Dmdr(dmdr) = &mut cold.method {
        dmdr.num_updates = num_updates;
        dmdr.rl = None;
        end_by(&mut dmdr.dm.real_scale, num_updates);
        for renoise in [&mut dmdr.dm.renoise, &mut dmdr.fake_score.renoise] {
            if let TimeDistribution::Beta { a, b } = renoise {
                end_by(a, num_updates);
                end_by(b, num_updates);
            }
        }
    }
    cold
}

/// Hurries an anneal that would not be over after `num_updates`.
fn end_by(curve: &mut Curve, num_updates: u64) {
    if let Curve::Linear { over, .. } | Curve::Cosine { over, .. } = curve {
        *over = (*over).min(num_updates);
    }
}

/// Distribution matching from the cold start in `run` on, with all dynamics over and one fake-score update for each of the
/// student's; `rl` joins it.
pub fn joint(
    base: &Experiment,
    run: &Path,
    num_updates: u64,
    rl: Option<(f64, RlAlgorithm)>,
) -> Experiment {
    let mut joint = go_on(base, run);
    if rl.is_none() {
        joint.rewards.clear();
    }
    if let Method::Dmdr(dmdr) = &mut joint.method {
        dmdr.num_updates = num_updates;
        dmdr.ttur = 1;
        dmdr.dm.real_scale = Curve::Constant(0.0);
        dmdr.dm.renoise = TimeDistribution::Uniform;
        dmdr.fake_score.renoise = TimeDistribution::Uniform;
        dmdr.rl = rl.map(|(weight, algorithm)| ReinforcementLearning {
            weight: Curve::Constant(weight),
            algorithm,
        });
    }
    joint
}

/// Reinforcement learning alone from the cold start in `run` on; `pretraining` weighs `ReFL`'s own regulariser.
pub fn rl_only(
    base: &Experiment,
    run: &Path,
    num_updates: u64,
    algorithm: RlAlgorithm,
    pretraining: f64,
) -> Experiment {
    let mut alone = go_on(base, run);
    alone.optim.remove(NetId::FAKE_SCORE);
    alone.method = Method::Rl(Box::new(RlAlone {
        num_updates,
        batch_size: base.method.recipe().plan().batch_size,
        algorithm,
        pretraining: Curve::Constant(pretraining),
    }));
    alone
}

/// `base` from the student and the fake score of a finished run.
fn go_on(base: &Experiment, run: &Path) -> Experiment {
    let mut next = base.clone();
    next.student.init = Some(run.join("student.safetensors"));
    next.fake_score.init = Some(run.join("fake-score.safetensors"));
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_cold_start_sees_its_dynamics_end() {
        let mut anneal = Curve::Cosine {
            from: 4.0,
            to: 1.0,
            over: 80,
        };
        end_by(&mut anneal, 160);
        assert!(anneal.at(79) > 1.0);
        end_by(&mut anneal, 20);
        assert!(anneal.at(19) > 1.0);
        assert!((anneal.at(20) - 1.0).abs() < f64::EPSILON);
    }

    #[test]
    fn arms_have_plain_folders() {
        assert_eq!(folder_name("distil + ReFL", 3), "distil-refl-seed-3");
        assert_eq!(folder_name("+ DynaDG", 0), "dynadg-seed-0");
    }
}
