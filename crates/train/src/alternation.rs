//! The two time-scale update: several fake-score updates for each generator update, each optimiser with its own group.

use std::path::Path;

use dmdr_config::{Ema, Optim};
use dmdr_data::Prompts;
use dmdr_methods::{Method, StepInfo};
use dmdr_models::Conditioning;
use dmdr_tensor::{ParamStore, reseed};

use crate::{Part, TrainError, Update, UpdateStats};

/// Parameters and the optimiser that owns them.
struct Trained {
    store: ParamStore,
    update: Update,
}

impl Trained {
    fn new(name: &'static str, store: ParamStore, config: &dmdr_config::Optimizer) -> Self {
        Self {
            update: Update::new(name, store.group(), config),
            store,
        }
    }
}

/// A method with everything that changes while it trains.
pub struct Alternation {
    method: Box<dyn Method>,
    student: Trained,
    score: Trained,
    average: Option<(ParamStore, f64)>,
    reference: Option<ParamStore>,
    ttur: u64,
    seed: u64,
    rl_factor: f64,
}

/// What an update leaves to log.
#[derive(Debug, Default)]
pub struct Stats {
    /// Of the generator.
    pub generator: UpdateStats,
    /// Of the last fake-score update; empty if the method has no fake score.
    pub score: UpdateStats,
}

impl std::fmt::Debug for Alternation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alternation")
            .field("ttur", &self.ttur)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// The stores behind a method's roles.
#[derive(Debug)]
pub struct Stores {
    /// The student's parameters.
    pub student: ParamStore,
    /// The fake score's.
    pub score: ParamStore,
    /// The frozen copy's, where the method compares with one.
    pub reference: Option<ParamStore>,
}

impl Alternation {
    /// `method` on `stores`, with `ttur` rollouts per generator update; all randomness follows from `seed`.
    pub fn new(
        method: Box<dyn Method>,
        stores: Stores,
        optim: &Optim,
        ema: Option<Ema>,
        ttur: u64,
        seed: u64,
    ) -> Self {
        let Stores {
            student,
            score,
            reference,
        } = stores;
        Self {
            method,
            average: ema.map(|ema| (student.duplicate(), ema.decay)),
            student: Trained::new("generator", student, &optim.generator),
            score: Trained::new("score", score, &optim.score),
            reference,
            ttur,
            seed,
            rl_factor: 1.0,
        }
    }

    /// The method.
    pub fn method(&self) -> &dyn Method {
        &*self.method
    }

    /// Multiplies the weight of reinforcement learning in all updates to come.
    pub fn set_rl_factor(&mut self, factor: f64) {
        self.rl_factor = factor;
    }

    /// One generator update: `ttur` times rollout and fake score, then the generator on the last rollout, then EMA.
    /// `prompts` gives the prompts of an iteration, counted over all rollouts. A batch that makes a loss that is not
    /// finite is kept in `run`.
    ///
    /// # Errors
    /// Prompts or rewards that fail, or a loss that is not finite; nothing was updated then.
    pub fn update(
        &mut self,
        run: &Path,
        update: u64,
        mut prompts: impl FnMut(u64) -> Result<(Prompts, Conditioning), TrainError>,
    ) -> Result<Stats, TrainError> {
        let step = StepInfo {
            seed: self.seed,
            rl_factor: self.rl_factor,
            ..StepInfo::at(update)
        };
        if let Some(reference) = &self.reference
            && self.method.takes_reference(&step)
        {
            reference.copy_from(&self.student.store);
        }
        let mut stats = Stats::default();
        for rollout in 0..self.ttur {
            let step = StepInfo { rollout, ..step };
            let iteration = update * self.ttur + rollout;
            reseed(&[self.seed, iteration]);
            let (prompts, cond) = prompts(iteration)?;
            let batch = self.method.rollout(prompts, cond, &step)?;

            if let Some(losses) = self.method.score_losses(&batch, &step)? {
                stats.score = self.score.update.step(&losses, update, run)?;
            }
            if rollout + 1 < self.ttur {
                continue;
            }
            let group = self.method.group(&batch, &step)?;
            for _ in 0..self.method.num_inner_updates(&step) {
                let losses = self
                    .method
                    .generator_losses(&batch, group.as_ref(), &step)?;
                stats.generator = self.student.update.step(&losses, update, run)?;
            }
        }
        if let Some((average, decay)) = &self.average {
            average.lerp_from(&self.student.store, *decay);
        }
        Ok(stats)
    }

    /// What a checkpoint holds.
    pub fn parts(&mut self) -> Vec<(&'static str, Part<'_>)> {
        let mut parts = vec![
            ("generator", Part::Params(&self.student.store)),
            ("score.adapter", Part::Params(&self.score.store)),
            (
                "optim.generator",
                Part::Optimizer(self.student.update.adamw_mut()),
            ),
            (
                "optim.score",
                Part::Optimizer(self.score.update.adamw_mut()),
            ),
        ];
        if let Some((average, _)) = &self.average {
            parts.push(("generator.ema", Part::Params(average)));
        }
        if let Some(reference) = &self.reference {
            parts.push(("reference", Part::Params(reference)));
        }
        parts
    }

    /// The averaged student, or the student itself where none is kept.
    pub fn averaged(&self) -> &ParamStore {
        self.average
            .as_ref()
            .map_or(&self.student.store, |(average, _)| average)
    }

    /// The fake score's parameters.
    pub fn score(&self) -> &ParamStore {
        &self.score.store
    }

    /// Runs `f` with the averaged weights in the student's place.
    pub fn with_average<T>(&self, f: impl FnOnce() -> T) -> T {
        let Some((average, _)) = &self.average else {
            return f();
        };
        self.student.store.swap(average);
        let result = f();
        self.student.store.swap(average);
        result
    }
}
