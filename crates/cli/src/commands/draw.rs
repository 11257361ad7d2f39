//! A benchmark's images, drawn once.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use dmdr_config::Who;
use dmdr_console::progress::Counter;
use dmdr_eval::{Measured, Sampler};
use dmdr_events::{Environment, EvalReport, InputFile, RunDir, atomic_write};
use dmdr_image::Image;
use dmdr_train::FinishedRun;
use serde::{Deserialize, Serialize};

use crate::args::DrawArgs;

/// One prompt's images: are they there, and where they go.
pub(crate) trait Place {
    /// Whether all are there.
    fn is_filled(&self) -> bool;

    /// Puts them there.
    ///
    /// # Errors
    /// If they cannot be written.
    fn fill(&self, images: &[Image]) -> Result<()>;
}

/// Draws `count` images of every caption whose place is not filled. Does nothing without a run.
pub(crate) fn draw<P: Place>(
    args: &DrawArgs,
    prompts: &[(String, P)],
    count: usize,
    quiet: bool,
) -> Result<()> {
    let Some(run) = args.run.as_deref() else {
        return Ok(());
    };
    let missing: Vec<_> = prompts
        .iter()
        .filter(|(_, place)| !place.is_filled())
        .collect();
    let drawn_by = DrawnBy::of(args, run)?;
    match DrawnBy::read(&args.images)? {
        Some(before) if before.is_other_than(&drawn_by) => bail!(
            "`{}` holds images of the {}: give another folder, or remove this one",
            args.images.display(),
            before.in_words()
        ),
        None if !missing.is_empty() && missing.len() < prompts.len() => bail!(
            "`{}` holds images that `dmdr` has not drawn, and lacks others: give another folder",
            args.images.display()
        ),
        _ => {}
    }
    if missing.is_empty() {
        return Ok(());
    }
    let trained = FinishedRun::open(run)?;
    let (teacher, student) = (trained.teacher(), trained.student());
    let (sampler, weights): (&dyn Sampler, _) = match args.who {
        Who::Teacher => (&teacher, &trained.experiment.teacher.weights),
        Who::Student => (&student, &trained.weights),
    };
    let captions: Vec<String> = missing.iter().map(|(caption, _)| caption.clone()).collect();
    trained.source.prepare(&captions)?;
    drawn_by.write(&args.images)?;
    let mut counter = Counter::new(quiet, &format!("{}'s images", sampler.name()));
    let num_images = missing.len() * count;
    let mut elapsed = Duration::ZERO;
    for (index, (caption, place)) in missing.iter().enumerate() {
        let start = Instant::now();
        let images = trained.draw(sampler, caption, args.seed, count)?;
        elapsed += start.elapsed();
        place.fill(&images)?;
        counter.update((index + 1) * count, num_images);
    }
    let sampling = Some(Sampling {
        checkpoint: weights.display().to_string(),
        num_evaluations: sampler.num_evaluations(),
        guidance: sampler.guidance(),
        images_per_second: num_images as f64 / elapsed.as_secs_f64(),
    });
    let drawn_by = DrawnBy {
        sampling,
        ..drawn_by
    };
    drawn_by.write(&args.images)
}

/// What drew the images of a folder, kept beside them as `drawn.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DrawnBy {
    run: InputFile,
    student: InputFile,
    who: String,
    seed: u64,
    /// Not while images are missing.
    sampling: Option<Sampling>,
}

/// How all images of a folder were drawn.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Sampling {
    /// Path or name of the weights.
    checkpoint: String,
    num_evaluations: usize,
    guidance: f64,
    /// When the last of them were drawn.
    images_per_second: f64,
}

impl DrawnBy {
    fn of(args: &DrawArgs, run: &Path) -> Result<Self> {
        let who = match args.who {
            Who::Teacher => "teacher",
            Who::Student => "student",
        };
        let student = FinishedRun::student_of(run)?;
        Ok(Self {
            run: InputFile::read(&run.join("config.toml"))?,
            student: InputFile::read(&student)?,
            who: who.to_owned(),
            seed: args.seed,
            sampling: None,
        })
    }

    /// That of the folder `images`, if it was filled by `dmdr`.
    pub(crate) fn read(images: &Path) -> Result<Option<Self>> {
        let path = images.join("drawn.json");
        if !path.is_file() {
            return Ok(None);
        }
        let text = fs::read(&path).with_context(|| format!("cannot read `{}`", path.display()))?;
        let drawn_by = serde_json::from_slice(&text);
        drawn_by.with_context(|| format!("`{}` is damaged", path.display()))
    }

    fn write(&self, images: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        Ok(atomic_write(images.join("drawn.json"), json)?)
    }

    /// Whether it draws other images; a run may have been moved.
    fn is_other_than(&self, other: &Self) -> bool {
        let key = |by: &Self| (by.run.sha256.clone(), by.student.sha256.clone());
        key(self) != key(other) || self.who != other.who || self.seed != other.seed
    }

    /// The report of what was `measured` of its images, if it has drawn all of them.
    pub(crate) fn report(&self, measured: &Measured, env: &Environment) -> Option<EvalReport> {
        let sampling = self.sampling.clone()?;
        let measured = Measured {
            seeds: measured.seeds.iter().map(|seed| self.seed + seed).collect(),
            num_evaluations: sampling.num_evaluations,
            guidance: sampling.guidance,
            images_per_second: sampling.images_per_second,
            ..measured.clone()
        };
        Some(measured.report(&self.who, sampling.checkpoint, BTreeMap::new(), env))
    }

    /// Its run, in the folder `given` or where it was, if that is still as it was.
    pub(crate) fn find_run(&self, given: Option<&Path>) -> Option<RunDir> {
        let folder = given.or_else(|| self.run.path.parent())?;
        let same = |file: &InputFile| {
            let name = file.path.file_name().unwrap_or_default();
            InputFile::read(&folder.join(name)).is_ok_and(|now| now.sha256 == file.sha256)
        };
        let is_there = same(&self.run) && same(&self.student);
        RunDir::open(folder).ok().filter(|_| is_there)
    }

    fn in_words(&self) -> String {
        let Self { who, seed, run, .. } = self;
        format!("{who} of `{}`, seed {seed}", run.path.display())
    }
}

/// Whether `path` is a whole picture: one that was cut short is drawn again.
pub(crate) fn is_picture(path: &Path) -> bool {
    Image::from_file(path).is_ok()
}

/// That `path` is a whole picture.
pub(crate) fn check_picture(path: &Path) -> Result<()> {
    if !path.is_file() {
        return Err(missing(path));
    }
    Image::from_file(path)?;
    Ok(())
}

/// The error for a first image that neither is there nor is drawn.
pub(crate) fn missing(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "there is no image `{}`: give `--run RUN` to draw what is missing",
        path.display()
    )
}
