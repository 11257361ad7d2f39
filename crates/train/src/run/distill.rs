//! A distillation: its trainer, with the samples, measurements and results around it.

use std::{collections::BTreeMap, fs, path::Path};

use dmdr_batches::Prompts;
use dmdr_config::{Experiment, Method, NetForm, NetId, NetSpec, Recipe};
use dmdr_eval::Measure;
use dmdr_events::{EventsError, OwnedRun, Record, RunDir, atomic_write};
use dmdr_methods::{Batch, Feed, FeedError, Nets, Share};
use dmdr_rewards::Complaints;
use dmdr_tensor::{Kind, Ranks, Runtime, Tensor};

use crate::{
    Backbone, Inputs, Observer, Outcome, Part, Source, StudentSampler, TeacherSampler, TrainError,
    Trainer, Verdict,
    interop::lora_file::lora_notes,
    run::course::{self, Course},
    run::guard::Guard,
    run::measure::measure_of,
    run::sheet::Sheet,
};

/// A distillation, loaded and checked, ready to run.
pub struct Distillation<'a> {
    experiment: &'a Experiment,
    recipe: &'a dyn Recipe,
    nets: Vec<NetSpec>,
    feed: Prompted,
    trainer: Trainer,
    backbone: Backbone,
    sheet: Sheet,
    measure: Option<Box<dyn Measure>>,
    guard: Option<Guard<'a>>,
    /// What judges elsewhere did not answer since the last update.
    complaints: Complaints,
    /// For the headers of results.
    notes: BTreeMap<String, String>,
}

/// The metric that says in how many parts the batch of all processes is computed, once memory has run out.
const PARTS: &str = "parts";

/// A source as the feed of a method.
struct Prompted {
    source: Box<dyn Source>,
    /// Rows of this process.
    batch_size: usize,
    ranks: Ranks,
}

impl Feed for Prompted {
    fn batch(&self, iteration: u64) -> Result<Batch, FeedError> {
        let count = self.batch_size;
        let prompts = self.source.training(iteration, count, self.ranks)?;
        let cond = self.source.encode(&prompts)?;
        Ok(Batch { prompts, cond })
    }

    fn true_images(
        &self,
        prompts: &Prompts,
        share: Share,
        iteration: u64,
    ) -> Result<Option<Tensor>, FeedError> {
        let rows: Vec<u64> = share.indices(prompts.len()).collect();
        Ok(self.source.true_images(prompts, &rows, iteration))
    }
}

impl std::fmt::Debug for Distillation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Distillation")
            .field("experiment", &self.experiment.name)
            .finish_non_exhaustive()
    }
}

impl<'a> Distillation<'a> {
    pub(crate) fn of_parts(
        experiment: &'a Experiment,
        recipe: &'a dyn Recipe,
        runtime: Runtime,
        source: Box<dyn Source>,
        trainer: Trainer,
        backbone: Backbone,
        complaints: Complaints,
    ) -> Result<Self, TrainError> {
        let image_shape = backbone.image_shape();
        let measure = (experiment.events.evaluate_every > 0 && runtime.ranks.is_first())
            .then(|| {
                let config = &experiment.evaluation;
                let prompts = (config.num_prompts, (0..config.num_seeds as u64).collect());
                let told = Some(&complaints);
                measure_of(experiment, &*source, image_shape, runtime, prompts, told)
            })
            .transpose()?;
        let prompts = source.sheet(experiment.events.num_sample_prompts)?;
        Ok(Self {
            experiment,
            recipe,
            nets: recipe.nets(&experiment.setup()),
            trainer,
            sheet: Sheet::new(prompts, image_shape, runtime.device),
            feed: Prompted {
                source,
                batch_size: recipe.plan().batch_size * experiment.accumulate,
                ranks: runtime.ranks,
            },
            backbone,
            measure,
            guard: None,
            complaints,
            notes: BTreeMap::new(),
        })
    }

    /// The networks.
    pub(crate) fn nets(&self) -> &Nets {
        self.trainer.nets()
    }

    /// What is allowed but probably not meant, and only known once everything is loaded.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.feed.source.warnings(self.experiment);
        if matches!(self.experiment.method, Method::External(_)) {
            warnings.extend(self.experiment.method_warnings(self.recipe));
        }
        warnings
    }

    /// Trains to the end, or until the observer asks to stop. With `resume` it continues from the newest checkpoint,
    /// or from the beginning if none was written yet, to the same numbers as a run that was never stopped.
    ///
    /// # Errors
    /// A loss that is not finite, a damaged checkpoint, prompts or files that changed since, or a file that cannot be
    /// written.
    pub fn run(
        &mut self,
        run: &OwnedRun,
        resume: bool,
        notes: &BTreeMap<String, String>,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        self.keep_inputs(run)?;
        self.notes.clone_from(notes);
        let schedule = self.schedule();
        course::train(self, &schedule, run, resume, observer)
    }

    /// Trains in step with the process that runs it, in whose folder `run` nothing is written but a batch that made a number that
    /// is not finite.
    ///
    /// # Errors
    /// As for [`Self::run`], or a process that is gone or hangs.
    pub fn follow(
        &mut self,
        run: &RunDir,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, TrainError> {
        let schedule = self.schedule();
        course::follow(self, &schedule, run, observer)
    }

    fn schedule(&self) -> course::Schedule<'a> {
        let ranks = self.trainer.ranks();
        course::Schedule {
            num_updates: self.recipe.plan().num_updates,
            events: &self.experiment.events,
            identity: self.experiment.identity(),
            batches: self.experiment.accumulate as u64 * ranks.count(),
            ranks,
        }
    }

    /// Writes down what the run reads, if it begins now; refuses what changed since, if it goes on.
    fn keep_inputs(&self, run: &RunDir) -> Result<(), TrainError> {
        if let Some(corpus) = self.feed.source.corpus() {
            corpus.keep(run)?;
        }
        let pipeline = self.feed.source.pipeline();
        let pipeline = pipeline.map(|pipeline| pipeline.index().folder());
        Inputs::of(self.experiment, pipeline)?.keep(run)
    }

    fn student_sampler(&self) -> StudentSampler<'_> {
        let nets = self.trainer.nets();
        StudentSampler::of(
            &self.experiment.student,
            nets.view(nets.sampled()),
            &*self.feed.source,
        )
    }

    fn draw_teacher(&self, run: &RunDir, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let teacher = self.trainer.nets().teacher();
        let sampler = TeacherSampler::of(&self.experiment.teacher, teacher, &*self.feed.source);
        let path = Sheet::teacher_path(run);
        self.sheet.write(&sampler, &path)?;
        self.sheet.write_legend(run)?;
        observer.wrote("teacher", &path);
        Ok(())
    }

    /// The student, or its average where there is one.
    fn save_student(&self, path: &Path) -> Result<(), TrainError> {
        let student = &self.experiment.student;
        let mut notes = self.notes.clone();
        notes.insert("num_steps".into(), student.num_steps.to_string());
        notes.insert("shift".into(), student.shift.to_string());
        if let Some(time) = student.conditioning_time {
            notes.insert("conditioning_time".into(), time.to_string());
        }
        self.save(self.trainer.nets().sampled(), path, notes)
    }

    /// Writes a network, so that another run can go on from it.
    fn save(
        &self,
        id: NetId,
        path: &Path,
        notes: BTreeMap<String, String>,
    ) -> Result<(), TrainError> {
        let store = self.trainer.nets().store(id);
        let spec = self.nets.iter().find(|spec| spec.id == id);
        match &spec.expect("one of the table").form {
            NetForm::Full => self.backbone.save(store, path, &notes)?,
            NetForm::Heads { .. } => store.save(path, Kind::Float, &notes)?,
            NetForm::Lora(lora) | NetForm::OutputLora(lora) => {
                store.save(path, Kind::Float, &lora_notes(notes, lora))?;
            }
        }
        Ok(())
    }
}

impl Course for Distillation<'_> {
    fn parts(&mut self) -> Vec<(String, Part<'_>)> {
        self.trainer.parts()
    }

    fn update(&mut self, update: u64, run: &Path) -> Result<BTreeMap<String, f64>, TrainError> {
        let before = self.trainer.division();
        let mut numbers = self.trainer.update(update, &self.feed, run)?;
        let division = self.trainer.division();
        if division != before {
            self.complaints.borrow_mut().push(format!(
                "memory ran out; from here on a batch is computed in {} parts instead of {}, which changes rounding alone",
                division.parts(),
                before.parts()
            ));
        }
        if division.parts() > self.experiment.accumulate {
            let shares = division.parts() as u64 * self.trainer.ranks().count();
            numbers.insert(PARTS.to_owned(), shares as f64);
        }
        Ok(numbers)
    }

    fn begin(&mut self, run: &RunDir, observer: &mut dyn Observer) -> Result<(), TrainError> {
        self.draw_teacher(run, observer)?;
        course::sample(self, run, 0, observer)
    }

    fn recall(&mut self, log: &[Record]) {
        // What memory taught the run before it was stopped.
        let parts = log.iter().rev().find_map(|record| record.values.get(PARTS));
        if let Some(shares) = parts {
            let ranks = self.trainer.ranks().count();
            self.trainer
                .divide_into((*shares as u64).div_ceil(ranks) as usize);
        }
        self.guard = Guard::new(self.experiment, self.recipe.rl(), log);
        self.heed_guard();
    }

    fn factor(&self) -> f64 {
        self.guard.as_ref().map_or(1.0, Guard::rl_factor)
    }

    fn heed(&mut self, factor: f64) {
        self.trainer.lower("rl", factor);
    }

    fn is_over(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::has_stopped)
    }

    fn sample(&self, path: &Path) -> Result<bool, TrainError> {
        self.sheet.write(&self.student_sampler(), path)?;
        Ok(true)
    }

    /// Means of all metrics; of none, where nothing is ever due.
    fn evaluate(&self) -> Result<BTreeMap<String, f64>, TrainError> {
        let Some(measure) = &self.measure else {
            return Ok(BTreeMap::new());
        };
        let measured = measure.measure(&self.student_sampler(), &mut |_, _| {})?;
        Ok(measured.means())
    }

    fn judge(
        &mut self,
        update: u64,
        values: &BTreeMap<String, f64>,
        run: &RunDir,
        observer: &mut dyn Observer,
    ) -> Result<(), TrainError> {
        let Some(guard) = &mut self.guard else {
            return Ok(());
        };
        let metric = guard.metric();
        if let Some(value) = values.get(metric) {
            let verdict = guard.observe(update, *value);
            observer.guarded(update + 1, metric, verdict);
            self.heed_guard();
            if verdict == Verdict::Best {
                self.save_student(&run.best())?;
            }
        }
        Ok(())
    }

    fn complaints(&self) -> Vec<String> {
        self.complaints.take()
    }

    /// Writes the student, of a run that a guard has stopped the best one, and the fake score.
    fn finish(&mut self, run: &RunDir, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let path = run.path().join("student.safetensors");
        if self.is_over() {
            let best = run.best();
            let bytes = fs::read(&best).map_err(|source| EventsError::Io {
                action: "read",
                path: best,
                source,
            })?;
            atomic_write(&path, bytes)?;
        } else {
            self.save_student(&path)?;
        }
        observer.wrote("student", &path);
        if self.trainer.nets().has(NetId::FAKE_SCORE) {
            let path = run.path().join("fake-score.safetensors");
            self.save(NetId::FAKE_SCORE, &path, self.notes.clone())?;
        }
        Ok(())
    }
}

impl Distillation<'_> {
    /// Lets the guard have its way with the updates to come.
    fn heed_guard(&mut self) {
        if let Some(guard) = &self.guard {
            self.trainer.lower("rl", guard.rl_factor());
        }
    }
}
