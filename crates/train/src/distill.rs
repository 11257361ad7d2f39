//! The distillation loop. Read from top to bottom, [`Distillation::run`] is one iteration in order.

use std::{collections::BTreeMap, path::Path, time::Instant};

use dmdr_config::{Experiment, Method as MethodConfig, RewardModel as RewardConfig, Tuning};
use dmdr_data::PromptStream;
use dmdr_diffusion::time_grid;
use dmdr_eval::{EvalSet, Evaluator, scalars};
use dmdr_events::{Kind, RunDir};
use dmdr_methods::{Dmdr, Method, RlOnly, StepInfo, rl::RlTerm};
use dmdr_models::{Dit, DitConfig, Stored};
use dmdr_rewards::{ClipScore, JudgeReward, RewardMix, RewardModel};
use dmdr_tensor::{Device, Kind as TensorKind, ParamStore, device, reseed};
use dmdr_world::{Split, World};

use crate::{
    Checkpoint, Networks, Observer, Outcome, Part, Recorder, StudentSampler, TeacherSampler,
    TextEncoder, TrainError, Update, UpdateStats, checkpoint::due, compute, sheet::Sheet, world,
};

/// A distillation, loaded and checked, ready to run.
pub struct Distillation<'a> {
    experiment: &'a Experiment,
    world: World,
    text: TextEncoder,
    method: Box<dyn Method>,
    num_updates: u64,
    batch_size: usize,
    ttur: u64,
    student: Trained,
    score: Trained,
    average: Option<(ParamStore, f64)>,
    reference: Option<ParamStore>,
    config: DitConfig,
    sheet: Sheet,
    evaluator: Option<Evaluator>,
    device: Device,
}

/// Parameters and the optimiser that owns them.
struct Trained {
    store: ParamStore,
    update: Update,
}

impl std::fmt::Debug for Distillation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Distillation")
            .field("experiment", &self.experiment.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Distillation<'a> {
    /// Loads and checks everything; no training yet.
    ///
    /// # Errors
    /// Any input that is missing, unreadable or does not fit.
    pub fn new(experiment: &'a Experiment) -> Result<Self, TrainError> {
        let device = device(&experiment.device.to_string())?;
        let world = world(experiment.world.preset)?;
        let text = TextEncoder::load(
            "assets.world_clip",
            &experiment.assets.world_clip,
            &world,
            device,
        )?;
        let compute = compute(experiment.precision, device);
        let networks = Networks::build(experiment, &text, device, compute)?;
        let image_shape = networks.image_shape();
        let Networks {
            roles,
            student,
            score,
            reference,
            config,
            ..
        } = networks;
        let times = time_grid(experiment.student.num_steps, experiment.student.shift);
        let rl = match experiment.method.rl_algorithm() {
            Some(algorithm) => {
                let rewards = rewards(experiment, &world, device)?;
                Some(RlTerm::new(algorithm, rewards, times.clone())?)
            }
            None => None,
        };
        let method: Box<dyn Method> = match (&experiment.method, rl) {
            (MethodConfig::Rl(config), Some(rl)) => Box::new(RlOnly::new(
                (**config).clone(),
                times,
                roles,
                rl,
                world.clone(),
                experiment.seed,
                image_shape,
            )),
            (MethodConfig::Dmdr(config), rl) => Box::new(Dmdr::new(
                (**config).clone(),
                times,
                experiment.fake_score.scale,
                roles,
                rl,
                image_shape,
            )),
            (MethodConfig::Rl(_), None) => unreachable!("`[method.rl]` has an algorithm"),
        };
        let evaluator = (experiment.events.evaluate_every > 0)
            .then(|| Evaluator::load(world.clone(), &experiment.assets, device))
            .transpose()?;
        let count = experiment.events.num_sample_prompts;
        let optim = &experiment.optim;
        Ok(Self {
            experiment,
            num_updates: experiment.method.num_updates(),
            batch_size: experiment.method.batch_size(),
            ttur: experiment.method.ttur(),
            reference,
            average: experiment.ema.map(|ema| (student.duplicate(), ema.decay)),
            student: Trained {
                update: Update::new("generator", student.group(), &optim.generator),
                store: student,
            },
            score: Trained {
                update: Update::new("score", score.group(), &optim.score),
                store: score,
            },
            sheet: Sheet::new(&world, count, text.max_tokens(), image_shape, device),
            world,
            text,
            method,
            config,
            evaluator,
            device,
        })
    }

    /// Trains to the end, or until the observer asks to stop. With `resume` it continues from the newest checkpoint,
    /// or from the beginning if none was written yet, to the same numbers as a run that was never stopped.
    ///
    /// # Errors
    /// A loss that is not finite, a damaged checkpoint, or a file that cannot be written.
    pub fn run(
        &mut self,
        run: &RunDir,
        resume: bool,
        notes: &BTreeMap<String, String>,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        let events = &self.experiment.events;
        let checkpoints = Checkpoint::new(run, self.experiment.hash(), events.keep_checkpoints);
        let resumed = if resume {
            Some(checkpoints.load_latest(&mut self.parts())?)
        } else {
            None
        };
        let mut recorder = Recorder::open(run, resumed)?;
        if resumed.is_none_or(|(step, _)| step == 0) && events.sample_every > 0 {
            self.draw_teacher(run, observer)?;
            self.draw_student(run, 0, observer)?;
        }

        for update in resumed.map_or(0, |(step, _)| step)..self.num_updates {
            let started = Instant::now();
            let (generator, score) = self.update(run, update)?;

            // Nothing below can change a number of the training: every update reseeds.
            let done = update + 1;
            let mut shown = generator;
            shown.insert("time/update_s".into(), started.elapsed().as_secs_f64());
            if due(done, events.log_every) {
                recorder.record(update, Kind::Train, &shown)?;
                if !score.is_empty() {
                    recorder.record(update, Kind::Score, &score)?;
                }
            }
            shown.extend(score);
            observer.updated(done, self.num_updates, &shown);
            if due(done, events.sample_every) {
                self.draw_student(run, done, observer)?;
            }
            if due(done, events.evaluate_every) {
                let values = self.evaluate()?;
                recorder.record(update, Kind::Evaluate, &values)?;
                observer.evaluated(done, &values);
            }
            let stop = observer.interrupted();
            if due(done, events.checkpoint_every) || stop || done == self.num_updates {
                let wall_s = recorder.wall_s();
                let path = checkpoints.save(done, wall_s, &self.parts())?;
                observer.wrote("checkpoint", &path);
            }
            if stop {
                return Ok(Outcome::Interrupted { step: done });
            }
        }
        let path = run.path().join("student.safetensors");
        self.save_student(&path, notes)?;
        observer.wrote("student", &path);
        self.save_score(&run.path().join("fake-score.safetensors"), notes)?;
        Ok(Outcome::Finished)
    }

    /// One generator update: `ttur` times rollout and fake score, then the generator on the last rollout, then EMA.
    fn update(
        &mut self,
        run: &RunDir,
        update: u64,
    ) -> Result<(UpdateStats, UpdateStats), TrainError> {
        let seed = self.experiment.seed;
        let step = StepInfo { update };
        if let Some(reference) = &self.reference
            && self.method.takes_reference(&step)
        {
            reference.copy_from(&self.student.store);
        }
        let mut score = UpdateStats::new();
        let mut generator = UpdateStats::new();
        for inner in 0..self.ttur {
            let iteration = update * self.ttur + inner;
            reseed(&[seed, iteration]);
            let prompts = PromptStream::training(&self.world, seed).prompts(
                iteration,
                self.batch_size,
                self.text.max_tokens(),
                self.device,
            )?;
            let cond = self.text.encode(&prompts);
            let rollout = self.method.rollout(prompts, cond)?;

            if let Some(losses) = self.method.score_losses(&rollout, &step)? {
                score = self.score.update.step(&losses, update, run.path())?;
            }
            if inner + 1 < self.ttur {
                continue;
            }
            let group = self.method.group(&rollout, &step)?;
            for _ in 0..self.method.num_inner_updates(&step) {
                let losses = self
                    .method
                    .generator_losses(&rollout, group.as_ref(), &step)?;
                generator = self.student.update.step(&losses, update, run.path())?;
            }
        }
        if let Some((average, decay)) = &self.average {
            average.lerp_from(&self.student.store, *decay);
        }
        Ok((generator, score))
    }

    /// What a checkpoint holds.
    fn parts(&mut self) -> Vec<(&'static str, Part<'_>)> {
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

    /// Runs `f` with the averaged weights in the student's place.
    fn with_average<T>(&self, f: impl FnOnce() -> T) -> T {
        let Some((average, _)) = &self.average else {
            return f();
        };
        self.student.store.swap(average);
        let result = f();
        self.student.store.swap(average);
        result
    }

    fn student_sampler(&self) -> StudentSampler<'_> {
        StudentSampler {
            roles: self.method.roles(),
            text: &self.text,
            num_steps: self.experiment.student.num_steps,
            shift: self.experiment.student.shift,
        }
    }

    fn draw_teacher(&self, run: &RunDir, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let sampler = TeacherSampler {
            view: self.method.roles().teacher(),
            text: &self.text,
            num_steps: self.experiment.teacher.num_steps,
        };
        let path = Sheet::teacher_path(run);
        self.sheet.write(&self.world, &sampler, &path)?;
        self.sheet.write_legend(run)?;
        observer.wrote("teacher", &path);
        Ok(())
    }

    fn draw_student(
        &self,
        run: &RunDir,
        step: u64,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let path = run.sample(step);
        self.with_average(|| {
            self.sheet
                .write(&self.world, &self.student_sampler(), &path)
        })?;
        observer.wrote("samples", &path);
        Ok(())
    }

    fn evaluate(&self) -> Result<BTreeMap<String, f64>, TrainError> {
        let Some(evaluator) = &self.evaluator else {
            return Ok(BTreeMap::new());
        };
        let set = EvalSet {
            split: Split::Validation,
            num_prompts: self.experiment.evaluation.num_prompts,
            seeds: vec![0],
        };
        let evaluation = self
            .with_average(|| evaluator.evaluate(&self.student_sampler(), &set, &mut |_, _| {}))?;
        Ok(scalars(&evaluation))
    }

    /// The fake score's adapter, so that another run can go on from this one.
    fn save_score(&self, path: &Path, notes: &BTreeMap<String, String>) -> Result<(), TrainError> {
        let mut notes = notes.clone();
        notes.insert("format".into(), "dmdr.lora".into());
        self.score.store.save(path, TensorKind::Float, &notes)?;
        Ok(())
    }

    fn save_student(
        &self,
        path: &Path,
        notes: &BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        let student = &self.experiment.student;
        let mut notes = notes.clone();
        notes.insert("num_steps".into(), student.num_steps.to_string());
        notes.insert("shift".into(), student.shift.to_string());
        let store = self
            .average
            .as_ref()
            .map_or(&self.student.store, |(average, _)| average);
        match student.tuning {
            Tuning::Full => Dit::save(store, &self.config, path, TensorKind::Float, &notes)?,
            Tuning::Lora(_) => {
                notes.insert("format".into(), "dmdr.lora".into());
                store.save(path, TensorKind::Float, &notes)?;
            }
        }
        Ok(())
    }
}

fn rewards(
    experiment: &Experiment,
    world: &World,
    device: Device,
) -> Result<RewardMix, TrainError> {
    let mut mix = RewardMix::default();
    for reward in &experiment.rewards {
        let model: Box<dyn RewardModel> = match &reward.model {
            RewardConfig::WorldClip(model) | RewardConfig::Preference(model) => Box::new(
                ClipScore::load(reward.model.name(), &model.weights, device)?,
            ),
            RewardConfig::Judge => Box::new(JudgeReward::new(world)),
        };
        mix.push(reward.weight, model);
    }
    Ok(mix)
}
