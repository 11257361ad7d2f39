//! The distillation loop. Read from top to bottom, [`Distillation::run`] is one iteration in order.

use std::{collections::BTreeMap, fs, path::Path, rc::Rc, time::Instant};

use dmdr_config::{Experiment, FakeForm, Method as MethodConfig, Tuning};
use dmdr_diffusion::time_grid;
use dmdr_events::{EventsError, Kind, RunDir, atomic_write};
use dmdr_methods::{Dmdr, Method, RlOnly, rl::RlTerm};
use dmdr_models::Placement;
use dmdr_tensor::{Kind as TensorKind, device};

use crate::{
    Alternation, Backbone, Checkpoint, Corpus, Networks, Observer, Outcome, Recorder, Source,
    Stats, Stores, StudentSampler, TeacherSampler, TrainError, Verdict, checkpoint::due, compute,
    gaps::Complaints, guard::Guard, rewards::rewards, sheet::Sheet, watch::Watch,
};

/// A distillation, loaded and checked, ready to run.
pub struct Distillation<'a> {
    experiment: &'a Experiment,
    source: Source,
    alternation: Alternation,
    backbone: Backbone,
    sheet: Sheet,
    watch: Option<Watch>,
    /// What judges elsewhere did not answer since the last update.
    complaints: Complaints,
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
        let corpus = Corpus::read(experiment)?;
        Self::with_corpus(experiment, corpus.map(Rc::new).as_ref())
    }

    /// As [`Self::new`], where the prompt files were read already: `corpus` is that of `experiment`.
    ///
    /// # Errors
    /// As for [`Self::new`].
    ///
    /// # Panics
    /// The experiment has prompt files, and `corpus` is none.
    pub fn with_corpus(
        experiment: &'a Experiment,
        corpus: Option<&Rc<Corpus>>,
    ) -> Result<Self, TrainError> {
        let device = device(&experiment.device.to_string())?;
        let source = Source::with_corpus(experiment, corpus, device)?;
        let compute = compute(experiment.precision, device);
        let networks = Networks::build(experiment, &source, device, compute)?;
        Self::assemble(experiment, source, networks)
    }

    /// What `experiment` trains, of its source and its networks.
    pub(crate) fn assemble(
        experiment: &'a Experiment,
        source: Source,
        networks: Networks,
    ) -> Result<Self, TrainError> {
        let device = networks.student.device();
        let image_shape = networks.backbone.image_shape();
        let Networks {
            roles,
            student,
            score,
            reference,
            backbone,
            ..
        } = networks;
        let times = time_grid(experiment.student.num_steps, experiment.student.shift);
        let complaints = Complaints::default();
        let rl = match experiment.method.rl_algorithm() {
            Some(algorithm) => {
                let rewards = rewards(experiment, &source, device, &complaints)?;
                Some(RlTerm::new(
                    algorithm,
                    rewards,
                    times.clone(),
                    roles.schedule,
                )?)
            }
            None => None,
        };
        let method: Box<dyn Method> = match (&experiment.method, rl) {
            (MethodConfig::Rl(config), Some(rl)) => Box::new(RlOnly::new(
                (**config).clone(),
                times,
                roles,
                rl,
                source.true_images(),
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
        let placement = Placement {
            device,
            compute: compute(experiment.precision, device),
        };
        let watch = (experiment.events.evaluate_every > 0)
            .then(|| Watch::load(experiment, &source, image_shape, placement, &complaints))
            .transpose()?;
        let stores = Stores {
            student,
            score,
            reference,
        };
        let alternation = Alternation::new(
            method,
            stores,
            &experiment.optim,
            experiment.ema,
            experiment.method.ttur(),
            experiment.seed,
        );
        let prompts = source.sheet(experiment.events.num_sample_prompts)?;
        Ok(Self {
            experiment,
            alternation,
            sheet: Sheet::new(prompts, image_shape, device),
            source,
            backbone,
            watch,
            complaints,
        })
    }

    /// What is allowed but probably not meant, and only known once everything is loaded.
    pub fn warning(&self) -> Option<String> {
        self.source.warning(self.experiment)
    }

    /// Trains to the end, or until the observer asks to stop. With `resume` it continues from the newest checkpoint,
    /// or from the beginning if none was written yet, to the same numbers as a run that was never stopped.
    ///
    /// # Errors
    /// A loss that is not finite, a damaged checkpoint, prompts that changed since, or a file that cannot be written.
    pub fn run(
        &mut self,
        run: &RunDir,
        resume: bool,
        notes: &BTreeMap<String, String>,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        if let Some(corpus) = self.source.corpus() {
            corpus.keep(run)?;
        }
        let events = &self.experiment.events;
        let checkpoints = Checkpoint::new(run, self.experiment.identity(), events.keep_checkpoints);
        let resumed = if resume {
            Some(checkpoints.load_latest(&mut self.alternation.parts())?)
        } else {
            None
        };
        let mut recorder = Recorder::open(run, resumed)?;
        if resumed.is_none_or(|(step, _)| step == 0) && events.sample_every > 0 {
            self.draw_teacher(run, observer)?;
            self.draw_student(run, 0, observer)?;
        }

        let log = dmdr_events::read(run.metrics())?;
        let mut guard = Guard::new(self.experiment, &log);
        let num_updates = self.experiment.method.num_updates();
        for update in resumed.map_or(0, |(step, _)| step)..num_updates {
            if let Some(guard) = &guard {
                if guard.has_stopped() {
                    break;
                }
                self.alternation.set_rl_factor(guard.rl_factor());
            }
            let started = Instant::now();
            let Stats { generator, score } = self.update(run.path(), update)?;

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
            observer.updated(done, num_updates, &shown);
            self.pass_on(done, observer);
            if due(done, events.sample_every) {
                self.draw_student(run, done, observer)?;
            }
            if due(done, events.evaluate_every) {
                let values = self.evaluate()?;
                recorder.record(update, Kind::Evaluate, &values)?;
                observer.evaluated(done, &values);
                self.pass_on(done, observer);
                if let Some(guard) = &mut guard
                    && let Some(value) = values.get(guard.metric())
                {
                    let verdict = guard.observe(update, *value);
                    observer.guarded(done, guard.metric(), verdict);
                    if verdict == Verdict::Best {
                        self.save_student(&run.best(), notes)?;
                    }
                }
            }
            let stop = observer.interrupted();
            let is_last = done == num_updates || guard.as_ref().is_some_and(Guard::has_stopped);
            if due(done, events.checkpoint_every) || stop || is_last {
                let wall_s = recorder.wall_s();
                let path = checkpoints.save(done, wall_s, &self.alternation.parts())?;
                observer.wrote("checkpoint", &path);
            }
            if stop {
                return Ok(Outcome::Interrupted { step: done });
            }
        }
        let has_stopped = guard.is_some_and(|guard| guard.has_stopped());
        self.write_results(run, has_stopped, notes, observer)?;
        Ok(Outcome::Finished)
    }

    /// Writes the student, of a run that a guard `has_stopped` the best one, and the fake score.
    fn write_results(
        &self,
        run: &RunDir,
        has_stopped: bool,
        notes: &BTreeMap<String, String>,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let path = run.path().join("student.safetensors");
        if has_stopped {
            let best = run.best();
            let bytes = fs::read(&best).map_err(|source| EventsError::Io {
                action: "read",
                path: best,
                source,
            })?;
            atomic_write(&path, bytes)?;
        } else {
            self.save_student(&path, notes)?;
        }
        observer.wrote("student", &path);
        self.save_score(&run.path().join("fake-score.safetensors"), notes)
    }

    /// One update; a batch that makes a loss that is not finite is kept in `post_mortem`.
    pub(crate) fn update(&mut self, post_mortem: &Path, update: u64) -> Result<Stats, TrainError> {
        let Self {
            experiment,
            source,
            alternation,
            ..
        } = self;
        let batch_size = experiment.method.batch_size();
        alternation.update(post_mortem, update, |iteration| {
            let prompts = source.training(iteration, batch_size)?;
            let cond = source.encode(&prompts)?;
            Ok((prompts, cond))
        })
    }

    /// Tells `observer` what judges did not answer.
    fn pass_on(&self, done: u64, observer: &mut dyn Observer) {
        for complaint in self.complaints.take() {
            observer.warned(&format!("after update {done}: {complaint}"));
        }
    }

    fn student_sampler(&self) -> StudentSampler<'_> {
        StudentSampler {
            roles: self.alternation.method().roles(),
            source: &self.source,
            num_steps: self.experiment.student.num_steps,
            shift: self.experiment.student.shift,
        }
    }

    fn draw_teacher(&self, run: &RunDir, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let sampler = TeacherSampler {
            view: self.alternation.method().roles().teacher(),
            source: &self.source,
            num_steps: self.experiment.teacher.num_steps,
            shift: self.experiment.teacher.shift,
        };
        let path = Sheet::teacher_path(run);
        self.sheet.write(&sampler, &path)?;
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
        self.alternation
            .with_average(|| self.sheet.write(&self.student_sampler(), &path))?;
        observer.wrote("samples", &path);
        Ok(())
    }

    /// Means of all metrics; of none, where nothing is ever due.
    fn evaluate(&self) -> Result<BTreeMap<String, f64>, TrainError> {
        let Some(watch) = &self.watch else {
            return Ok(BTreeMap::new());
        };
        let measure = || watch.measure(&self.student_sampler(), &self.source);
        self.alternation.with_average(measure)
    }

    /// The fake score, so that another run can go on from this one.
    fn save_score(&self, path: &Path, notes: &BTreeMap<String, String>) -> Result<(), TrainError> {
        let store = self.alternation.score();
        if self.experiment.fake_score.form == FakeForm::Full {
            return self.backbone.save(store, path, notes);
        }
        let mut notes = notes.clone();
        notes.insert("format".into(), "dmdr.lora".into());
        store.save(path, TensorKind::Float, &notes)?;
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
        let store = self.alternation.averaged();
        match student.tuning {
            Tuning::Full => self.backbone.save(store, path, &notes)?,
            Tuning::Lora(_) => {
                notes.insert("format".into(), "dmdr.lora".into());
                store.save(path, TensorKind::Float, &notes)?;
            }
        }
        Ok(())
    }
}
