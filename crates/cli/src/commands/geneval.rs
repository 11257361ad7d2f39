//! `dmdr eval geneval`: images in the official folder layout, and the official scores from a detector's findings.

mod colors;
mod detect;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use dmdr_benchmarks::geneval::{
    Detections, Findings, GenEvalError, ImageResult, Layout, Metadata, Rules, Summary,
};
use dmdr_console::progress::{print_data, say};
use dmdr_events::{InputFile, atomic_write};
use dmdr_image::Image;
use serde::Serialize;

use self::{
    colors::Colors,
    detect::{Detecting, Record},
};
use super::{
    draw::{Place, check_picture, draw, is_picture},
    scores::{self, Pictures},
};
use crate::args::GenevalArgs;

/// The images of one prompt, in order.
struct Samples(Vec<PathBuf>);

impl Place for Samples {
    fn is_filled(&self) -> bool {
        self.0.iter().all(|path| is_picture(path))
    }

    fn fill(&self, images: &[Image]) -> Result<()> {
        for (path, image) in self.0.iter().zip(images) {
            atomic_write(path, image.png(&[]))?;
        }
        Ok(())
    }
}

/// Where findings come from.
enum Eyes {
    /// From a file that somebody wrote.
    File(Vec<Findings>, PathBuf),
    Detector(Detecting),
}

impl Eyes {
    /// Those that the command line names, if it does.
    fn open(args: &GenevalArgs, prompts: &[Metadata]) -> Result<Option<Self>> {
        if let Some(path) = &args.detections {
            return Ok(Some(Self::File(Findings::read(path)?, path.clone())));
        }
        let Some(model) = &args.detector else {
            return Ok(None);
        };
        let mut clauses = prompts.iter().flat_map(|prompt| &prompt.include);
        if args.clip.is_none() && clauses.any(|clause| clause.color.is_some()) {
            bail!(
                "prompts of `{}` name colours, which the detector does not see: give `--clip WEIGHTS --clip-tokenizer FOLDER`",
                args.metadata.display()
            );
        }
        let detecting = Detecting::open(model, args.onnxruntime.as_deref(), &args.draw.images)?;
        Ok(Some(Self::Detector(detecting)))
    }

    /// The detector with its hash, if it is one of ours.
    fn detector(&self) -> Option<Record> {
        match self {
            Self::File(..) => None,
            Self::Detector(detecting) => Some(detecting.record()),
        }
    }

    /// What is in the images, and the file that says so.
    fn findings(
        &mut self,
        images: &Path,
        names: &[String],
        rules: &Rules,
        quiet: bool,
    ) -> Result<(Vec<Findings>, PathBuf)> {
        match self {
            Self::File(findings, path) => {
                detect::check_pictures(findings, images)?;
                Ok((std::mem::take(findings), path.clone()))
            }
            Self::Detector(detecting) => {
                let findings = detecting.detect(names, rules, quiet)?;
                Ok((findings, detecting.path().to_owned()))
            }
        }
    }
}

/// The figures, and what they are of.
#[derive(Serialize)]
struct Figures<'a> {
    scores: &'a Summary,
    rules: &'a Rules,
    prompts: InputFile,
    samples: usize,
    pictures: Pictures,
    detections: InputFile,
    /// Whether there are any.
    masks: bool,
    detector: Option<Record>,
    clip: Option<InputFile>,
    clip_tokenizer: Option<InputFile>,
}

pub(crate) fn run(args: &GenevalArgs, quiet: bool) -> Result<ExitCode> {
    let is_scored = args.detections.is_some() || args.detector.is_some();
    if args.samples == 0 || (args.draw.run.is_none() && !is_scored) {
        bail!(
            "nothing to do: give `--run RUN` to draw images, `--detections FILE` or `--detector MODEL` to score them, and \
             `--samples` above 0"
        );
    }
    let prompts = Metadata::read(&args.metadata)?;
    // Before any work: what cannot be read is an error now.
    let eyes = Eyes::open(args, &prompts)?;
    let colors = Colors::open(args)?;
    let layout = Layout::new(&args.draw.images);
    draw_images(args, &prompts, &layout, quiet)?;
    let rules = Rules::default();
    let names: Vec<String> = (0..prompts.len())
        .flat_map(|prompt| (0..args.samples).map(move |sample| Layout::image_name(prompt, sample)))
        .collect();
    let Some(mut eyes) = eyes else {
        say(
            quiet,
            &format!(
                "{}: {} images; score them with `--detector MODEL`, or with `--detections FILE` from a detector of your own",
                args.draw.images.display(),
                names.len()
            ),
        );
        return Ok(ExitCode::SUCCESS);
    };
    let (findings, file) = eyes.findings(&args.draw.images, &names, &rules, quiet)?;
    let mut detections = Findings::by_image(findings);
    if let Some(mut colors) = colors {
        colors.fill(&prompts, args, &mut detections, &rules, quiet)?;
    }
    let results = judge(&prompts, args, &detections, &rules)?;
    let summary = Summary::new(&results)?;
    let lines: Vec<String> = results
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()?;
    let path = args.draw.images.join("results.jsonl");
    atomic_write(&path, lines.join("\n") + "\n")?;
    let has_masks = detections.values().flatten().any(|one| one.mask.is_some());
    let input = |path: &Option<PathBuf>| path.as_deref().map(scores::input).transpose();
    let figures = Figures {
        scores: &summary,
        rules: &rules,
        prompts: scores::input(&args.metadata)?,
        samples: args.samples,
        pictures: Pictures::read(&args.draw.images, &names)?,
        detections: scores::input(&file)?,
        masks: has_masks,
        detector: eyes.detector(),
        clip: input(&args.clip)?,
        clip_tokenizer: input(&args.clip_tokenizer)?,
    };
    print(&summary);
    say(quiet, &format!("verdicts with reasons: {}", path.display()));
    let metrics = summary.metrics(&results, args.samples)?;
    let measured = scores::measured("geneval", prompts.len(), args.samples, metrics);
    scores::write(&args.draw, &args.device, &measured, &figures, quiet)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the folder and draws what is not there.
fn draw_images(
    args: &GenevalArgs,
    prompts: &[Metadata],
    layout: &Layout,
    quiet: bool,
) -> Result<()> {
    layout.prepare(prompts)?;
    let samples = |index| {
        Samples(
            (0..args.samples)
                .map(|sample| layout.image(index, sample))
                .collect(),
        )
    };
    let places: Vec<(String, Samples)> = prompts
        .iter()
        .enumerate()
        .map(|(index, metadata)| (metadata.prompt.clone(), samples(index)))
        .collect();
    if args.draw.run.is_some() {
        return draw(&args.draw, &places, args.samples, quiet);
    }
    let mut paths = places.iter().flat_map(|(_, samples)| &samples.0);
    paths.try_for_each(|path| check_picture(path))
}

fn judge(
    prompts: &[Metadata],
    args: &GenevalArgs,
    detections: &Detections,
    rules: &Rules,
) -> Result<Vec<ImageResult>> {
    match ImageResult::judge_all(prompts, args.samples, detections, rules) {
        Err(error @ GenEvalError::Color { .. }) => Err(error)
            .context("give `--clip WEIGHTS --clip-tokenizer FOLDER` to have colours classified"),
        other => Ok(other?),
    }
}

fn print(summary: &Summary) {
    for task in &summary.tasks {
        print_data(&format!(
            "{:<16} {:.4}  ({} of {})",
            task.tag.to_string(),
            task.accuracy(),
            task.correct,
            task.total
        ));
    }
    print_data(&format!(
        "{:<16} {:.4}  ({} images, {} prompts)",
        "overall", summary.overall, summary.num_images, summary.num_prompts
    ));
}
