//! `dmdr eval table`: teachers and students of runs on one prompt set, scored by reward models.

mod truth;

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, rc::Rc};

use dmdr_config::{Experiment, Table, TableModel, Teacher, Who};
use dmdr_eval::{
    EvalError, LEAST_IMAGES, Measure, Measured, Pictures, Rater, RatingTable, Sampler,
};
use dmdr_events::{Environment, InputFile, atomic_write};
use dmdr_prompts::Census;
use dmdr_tensor::Runtime;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::truth::Truth;
use crate::{
    FinishedRun, MetricSource, TrainError,
    assembly::{corpus, metrics},
    hub,
    run::measure::batches,
};

/// A finished table: `table.json`.
#[derive(Debug, Clone, Serialize)]
pub struct TableReport {
    /// Files of the prompts.
    pub prompts: Vec<InputFile>,
    /// What became of their rows.
    pub census: Census,
    /// How many prompts were drawn.
    pub num_prompts: usize,
    /// Seeds of the noise.
    pub seeds: Vec<u64>,
    /// What each metric is.
    pub metrics: Vec<MetricSource>,
    /// The figures.
    pub table: RatingTable,
    /// The command line, the commit and the machine.
    pub environment: Environment,
}

/// A model's measurement as it is kept, so that a table that was stopped goes on.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// [`Basis::fingerprint`].
    fingerprint: String,
    measured: Measured,
}

/// Everything the measurement of a model depends on.
struct Basis<'a> {
    prompts: &'a [InputFile],
    table: &'a Table,
    metrics: &'a [MetricSource],
    /// By run.
    runs: BTreeMap<&'a Path, Vec<InputFile>>,
}

impl Basis<'_> {
    fn fingerprint(&self, model: &TableModel) -> String {
        let table = self.table;
        let prompts: Vec<&str> = self
            .prompts
            .iter()
            .map(|file| file.sha256.as_str())
            .collect();
        let all = serde_json::json!({
            "prompts": prompts, "kept": table.prompts,
            "seeds": table.seeds, "batch_size": table.batch_size, "precision": table.precision,
            "metrics": table.metrics, "diversity": table.diversity, "fidelity": table.fidelity,
            "sources": self.metrics, "who": model.who,
            "run": self.runs[model.run.as_path()],
        });
        format!("{:x}", Sha256::digest(all.to_string()))
    }
}

/// What the models of the run in `path` are made of. Weights of the hub are pinned by the config.
fn files_of(path: &Path) -> Result<Vec<InputFile>, TrainError> {
    let student = FinishedRun::student_of(path)?;
    let config = path.join("config.toml");
    let Teacher {
        weights,
        text_encoder,
        vae,
        ..
    } = Experiment::load(&config, &[])?.teacher;
    let local = [
        Some(weights).filter(|path| path.exists()),
        text_encoder,
        vae,
    ];
    let all = [config, student]
        .into_iter()
        .chain(local.into_iter().flatten());
    let files = all.map(|path| InputFile::read(&path));
    Ok(files.collect::<Result<_, _>>()?)
}

/// Measures what `table` names and keeps everything in `folder`: `scores/` as it goes, then `table.json` and `table.md`.
/// `progress` is told (model, images done, of).
///
/// # Errors
/// A prompt file, run or metric that cannot be read or does not fit.
pub fn measure_table(
    table: &Table,
    folder: &Path,
    environment: Environment,
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<TableReport, TrainError> {
    let (prompts, census, captions) = captions(table)?;
    let runtime = Runtime::new(table.device, table.precision)?;
    let (columns, detectors) = (&table.metrics, &table.detectors);
    let diversity = table.diversity.as_ref();
    let mut rater = metrics::rater(columns, detectors, diversity, runtime, None)?;
    let mut metrics = metrics::sources(&rater, columns, detectors, diversity)?;
    let truth = match &table.fidelity {
        None => None,
        Some(_) if captions.len() * table.seeds.len() < LEAST_IMAGES => {
            return Err(
                EvalError::Set("`[fidelity]` needs at least 4 images of each model").into(),
            );
        }
        Some(fidelity) => Some(Truth::open(fidelity, runtime)?),
    };
    metrics.extend(truth.iter().map(|truth| truth.source.clone()));
    let mut runs = BTreeMap::new();
    for model in &table.models {
        if !runs.contains_key(model.run.as_path()) {
            runs.insert(model.run.as_path(), files_of(&model.run)?);
        }
    }
    let basis = Basis {
        prompts: &prompts,
        table,
        metrics: &metrics,
        runs,
    };
    let scores = folder.join("scores");
    fs::create_dir_all(&scores).map_err(|source| TrainError::File {
        action: "create",
        path: scores.clone(),
        source,
    })?;
    if let Some(truth) = truth {
        let path = scores.join("reference.safetensors");
        let mut tell = |done, of| progress("reference", done, of);
        let reference = truth.reference(&path, table.batch_size, runtime.device, &mut tell)?;
        rater.compare_with(truth.encoder, reference);
    }
    let rater = Rc::new(rater);
    let mut open: Option<FinishedRun> = None;
    let mut models = Vec::new();
    for (index, model) in table.models.iter().enumerate() {
        let path = scores.join(format!("{index}.json"));
        let fingerprint = basis.fingerprint(model);
        let measured = if let Some(measured) = kept(&path, &fingerprint) {
            measured
        } else {
            let run = match open.take() {
                Some(run) if run.run.path() == model.run => run,
                _ => FinishedRun::open(&model.run)?,
            };
            let measured = measure(&run, model, &rater, table, &captions, progress)?;
            open = Some(run);
            let kept = Kept {
                fingerprint,
                measured,
            };
            let json = serde_json::to_vec(&kept).expect("plain values serialise");
            atomic_write(&path, json)?;
            kept.measured
        };
        models.push((model.name.clone(), measured));
    }
    let report = TableReport {
        prompts,
        census,
        num_prompts: captions.len(),
        seeds: table.seeds.clone(),
        metrics,
        table: RatingTable::new(&rater, &models),
        environment,
    };
    let json = serde_json::to_vec_pretty(&report).expect("plain values serialise");
    atomic_write(folder.join("table.json"), json)?;
    atomic_write(folder.join("table.md"), report.to_markdown())?;
    Ok(report)
}

/// The measurement in the file `path`, if it is of what `fingerprint` stands for.
fn kept(path: &Path, fingerprint: &str) -> Option<Measured> {
    let kept: Kept = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (kept.fingerprint == fingerprint).then_some(kept.measured)
}

/// The prompt files, what became of their rows, and what is drawn of them.
fn captions(table: &Table) -> Result<(Vec<InputFile>, Census, Vec<String>), TrainError> {
    let prompts = &table.prompts;
    let mut paths = prompts.file.clone();
    hub::pin_files(&mut paths)?;
    let set = corpus::read(&paths, prompts.rules())?;
    let count = prompts.count.unwrap_or(usize::MAX);
    let captions = set.iter().take(count).collect::<Result<_, _>>()?;
    let file = |path: &Path| -> Result<InputFile, TrainError> {
        let read = InputFile::read(&hub::file(path)?)?;
        let path = path.to_owned();
        Ok(InputFile { path, ..read })
    };
    let files = paths.iter().map(file).collect::<Result<_, _>>()?;
    Ok((files, set.census().clone(), captions))
}

fn measure(
    run: &FinishedRun,
    model: &TableModel,
    rater: &Rc<Rater>,
    table: &Table,
    captions: &[String],
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Measured, TrainError> {
    run.source.prepare(captions)?;
    let pictures = Pictures {
        rater: Rc::clone(rater),
        split: "table",
        prompts: batches(&*run.source, captions, table.batch_size)?,
        seeds: table.seeds.clone(),
        noise: (run.backbone.image_shape(), run.runtime.device),
    };
    let (teacher, student) = (run.teacher(), run.student());
    let sampler: &dyn Sampler = match model.who {
        Who::Teacher => &teacher,
        Who::Student => &student,
    };
    let mut tell = |done, of| progress(&model.name, done, of);
    Ok(pictures.measure(sampler, &mut tell)?)
}

impl TableReport {
    /// The table, and under it what it was measured with.
    pub fn to_markdown(&self) -> String {
        let mut text = self.table.to_markdown();
        let _ = write!(
            text,
            "\n{} prompts of {} ({}), seeds {:?}; means with 95 % intervals over prompts, differences paired. \
             Commit {}, {}.\n\n",
            self.num_prompts,
            named(&self.prompts),
            self.census,
            self.seeds,
            self.environment.commit,
            self.environment.machine()
        );
        if !self.table.set_metrics.is_empty() {
            let _ = writeln!(
                text,
                "{} are of all {} images of a model as a set, without interval; compare equal numbers of images.\n",
                self.table.set_metrics.join(", "),
                self.num_prompts * self.seeds.len()
            );
        }
        for metric in &self.metrics {
            let settings = metric.settings.iter();
            let settings = settings.map(|(name, value)| format!("{name} {value}"));
            let mut parts = vec![format!("times {}", metric.factor)];
            parts.extend(settings);
            parts.extend((!metric.files.is_empty()).then(|| named(&metric.files)));
            let _ = writeln!(
                text,
                "- {}: `{}`, {}",
                metric.name,
                metric.model,
                parts.join(", ")
            );
        }
        text
    }
}

/// Files with the start of their hashes.
fn named(files: &[InputFile]) -> String {
    let names = files
        .iter()
        .map(|file| format!("`{}` (sha256 {:.12})", file.path.display(), file.sha256));
    names.collect::<Vec<_>>().join(", ")
}
