//! `dmdr eval table`: teachers and students of runs on one prompt set, scored by reward models.

use std::{
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use dmdr_bench::prompts::{Options, PromptSet, Source as PromptFile};
use dmdr_config::{RewardModel, Table, TableModel, Who};
use dmdr_data::Prompts;
use dmdr_eval::{Rated, Rater, RatingTable, Sampler};
use dmdr_events::{Environment, atomic_write};
use dmdr_models::Placement;
use dmdr_tensor::device;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{FinishedRun, TrainError, compute, rewards::reward_model};

/// A finished table: `table.json`.
#[derive(Debug, Clone, Serialize)]
pub struct TableReport {
    /// The prompts.
    pub prompts: InputFile,
    /// How many of them.
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

/// What a metric was computed with.
#[derive(Debug, Clone, Serialize)]
pub struct MetricSource {
    /// Its name in the table.
    pub name: String,
    /// Kind of the reward model, which fixes its preprocessing.
    pub model: &'static str,
    /// What scores were multiplied by.
    pub factor: f64,
    /// Its files.
    pub files: Vec<InputFile>,
    /// Whom it asks, if it is a model elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<RewardModel>,
}

/// A file or folder and what was in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// Where.
    pub path: PathBuf,
    /// SHA-256; of a folder, that of its files' names and hashes.
    pub sha256: String,
}

/// Scores of one model as they are kept, so that a table that was stopped goes on.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// [`Measured::fingerprint`].
    fingerprint: String,
    rated: Rated,
}

/// Everything the scores of a model depend on.
struct Measured<'a> {
    prompts: &'a InputFile,
    table: &'a Table,
    metrics: &'a [MetricSource],
}

impl Measured<'_> {
    fn fingerprint(&self, model: &TableModel) -> Result<String, TrainError> {
        let student = model.run.join("student.safetensors");
        let files: Vec<&InputFile> = self
            .metrics
            .iter()
            .flat_map(|metric| &metric.files)
            .collect();
        let names: Vec<&str> = self
            .metrics
            .iter()
            .map(|metric| metric.name.as_str())
            .collect();
        let table = self.table;
        let servers: Vec<&RewardModel> = self
            .metrics
            .iter()
            .filter_map(|metric| metric.server.as_ref())
            .collect();
        let mut all = serde_json::json!({
            "prompts": self.prompts.sha256, "column": table.prompts.column, "count": table.prompts.count,
            "seeds": table.seeds, "batch_size": table.batch_size, "precision": table.precision,
            "metrics": names, "files": files, "who": model.who,
            "config": InputFile::read(&model.run.join("config.toml"))?, "student": InputFile::read(&student)?,
        });
        // Tables without them keep what they have.
        if !servers.is_empty() {
            all["servers"] = serde_json::json!(servers);
        }
        Ok(format!("{:x}", Sha256::digest(all.to_string())))
    }
}

impl InputFile {
    /// # Errors
    /// If it cannot be read.
    pub fn read(path: &Path) -> Result<Self, TrainError> {
        let hash = hash(path).map_err(|source| TrainError::File {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            sha256: hash,
        })
    }
}

fn hash(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let line = format!("{} {}\n", entry.file_name().display(), hash(&entry.path())?);
            hasher.update(line);
        }
    } else {
        io::copy(&mut fs::File::open(path)?, &mut hasher)?;
    }
    Ok(format!("{:x}", hasher.finalize()))
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
    let (prompts, captions) = captions(table)?;
    let device = device(&table.device.to_string())?;
    let placement = Placement {
        device,
        compute: compute(table.precision, device),
    };
    let mut rater = Rater::default();
    let mut metrics = Vec::new();
    for metric in &table.metrics {
        let model = reward_model(metric.name(), &metric.model, placement)?;
        rater.push(metric.name(), metric.factor(), model);
        let files = metric.model.files().into_iter();
        metrics.push(MetricSource {
            name: metric.name().to_owned(),
            model: metric.model.name(),
            factor: metric.factor(),
            files: files
                .map(|(_, path)| InputFile::read(path))
                .collect::<Result<_, _>>()?,
            server: metric.model.is_elsewhere().then(|| metric.model.clone()),
        });
    }
    let measured = Measured {
        prompts: &prompts,
        table,
        metrics: &metrics,
    };
    let scores = folder.join("scores");
    fs::create_dir_all(&scores).map_err(|source| TrainError::File {
        action: "create",
        path: scores.clone(),
        source,
    })?;
    let mut open: Option<FinishedRun> = None;
    let mut models = Vec::new();
    for (index, model) in table.models.iter().enumerate() {
        let path = scores.join(format!("{index}.json"));
        let fingerprint = measured.fingerprint(model)?;
        let kept = fs::read(&path).ok();
        let kept = kept.and_then(|bytes| serde_json::from_slice::<Kept>(&bytes).ok());
        let rated = match kept {
            Some(kept) if kept.fingerprint == fingerprint => kept.rated,
            _ => {
                let run = match open.take() {
                    Some(run) if run.run.path() == model.run => run,
                    _ => FinishedRun::open(&model.run)?,
                };
                let rated = rate(&run, model, &rater, table, &captions, progress)?;
                open = Some(run);
                let kept = Kept { fingerprint, rated };
                let json = serde_json::to_vec(&kept).expect("plain values serialise");
                atomic_write(&path, json)?;
                kept.rated
            }
        };
        models.push((model.name.clone(), rated));
    }
    let names = metrics.iter().map(|metric| metric.name.clone()).collect();
    let report = TableReport {
        prompts,
        num_prompts: captions.len(),
        seeds: table.seeds.clone(),
        metrics,
        table: RatingTable::new(names, &models, captions.len()),
        environment,
    };
    let json = serde_json::to_vec_pretty(&report).expect("plain values serialise");
    atomic_write(folder.join("table.json"), json)?;
    atomic_write(folder.join("table.md"), report.to_markdown())?;
    Ok(report)
}

/// The prompt file and what of it is drawn.
fn captions(table: &Table) -> Result<(InputFile, Vec<String>), TrainError> {
    let path = &table.prompts.file;
    let source = PromptFile::new(path, &table.prompts.column)?;
    let set = PromptSet::read(&[source], &Options::default())?;
    let count = table.prompts.count.unwrap_or(usize::MAX);
    let captions = set.iter().take(count).collect::<Result<_, _>>()?;
    Ok((InputFile::read(path)?, captions))
}

fn rate(
    run: &FinishedRun,
    model: &TableModel,
    rater: &Rater,
    table: &Table,
    captions: &[String],
    progress: &mut dyn FnMut(&str, usize, usize),
) -> Result<Rated, TrainError> {
    run.source.prepare(captions)?;
    let batches = captions
        .chunks(table.batch_size)
        .map(|chunk| run.source.described(chunk))
        .collect::<Result<Vec<Prompts>, _>>()?;
    let (teacher, student) = (run.teacher(), run.student());
    let sampler: &dyn Sampler = match model.who {
        Who::Teacher => &teacher,
        Who::Student => &student,
    };
    let noise = (run.networks.backbone.image_shape(), run.device);
    let mut tell = |done, of| progress(&model.name, done, of);
    Ok(rater.rate(sampler, batches, &table.seeds, noise, &mut tell)?)
}

impl TableReport {
    /// The table, and under it what it was measured with.
    pub fn to_markdown(&self) -> String {
        let mut text = self.table.to_markdown();
        let _ = write!(
            text,
            "\n{} prompts of `{}` (sha256 {:.12}), seeds {:?}; means with 95 % intervals over prompts, differences paired. \
             Commit {}, {}.\n\n",
            self.num_prompts,
            self.prompts.path.display(),
            self.prompts.sha256,
            self.seeds,
            self.environment.commit,
            self.environment.machine()
        );
        for metric in &self.metrics {
            let files: Vec<String> = metric
                .files
                .iter()
                .map(|file| format!("`{}` (sha256 {:.12})", file.path.display(), file.sha256))
                .collect();
            let _ = writeln!(
                text,
                "- {}: `{}`, times {}; {}",
                metric.name,
                metric.model,
                metric.factor,
                files.join(", ")
            );
        }
        text
    }
}
