//! `dmdr eval geneval`: images in the official folder layout, and the official scores from a detector's findings.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Result, bail};
use dmdr_bench::geneval::{Detection, ImageResult, Layout, Metadata, Rules, Summary};
use dmdr_events::atomic_write;
use dmdr_world::Image;

use super::draw::{Place, draw, missing};
use crate::{
    args::GenevalArgs,
    progress::{print_data, say},
};

/// The images of one prompt, in order.
struct Samples(Vec<PathBuf>);

impl Place for Samples {
    fn is_filled(&self) -> bool {
        self.0.iter().all(|path| path.is_file())
    }

    fn fill(&self, images: &[Image]) -> Result<()> {
        for (path, image) in self.0.iter().zip(images) {
            atomic_write(path, image.png(&[]))?;
        }
        Ok(())
    }
}

pub(crate) fn run(args: &GenevalArgs, quiet: bool) -> Result<ExitCode> {
    if args.samples == 0 || (args.draw.run.is_none() && args.detections.is_none()) {
        bail!(
            "nothing to do: give `--run RUN` to draw images or `--detections FILE` to score them, and `--samples` above 0"
        );
    }
    let prompts = Metadata::read(&args.metadata)?;
    // Before any work: detections that cannot be read are an error now.
    let detections = args.detections.as_ref().map(Detection::read).transpose()?;
    let layout = Layout::new(&args.draw.images);
    layout.prepare(&prompts)?;
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
    draw(&args.draw, &places, args.samples, quiet)?;
    if let Some(path) = places
        .iter()
        .flat_map(|(_, samples)| &samples.0)
        .find(|path| !path.is_file())
    {
        return Err(missing(path));
    }
    let Some(detections) = detections else {
        say(
            quiet,
            &format!(
                "{}: {} images; run a detector on them, then give its findings as `--detections FILE`",
                args.draw.images.display(),
                prompts.len() * args.samples
            ),
        );
        return Ok(ExitCode::SUCCESS);
    };
    let results = ImageResult::judge_all(&prompts, args.samples, &detections, &Rules::default())?;
    let summary = Summary::new(&results)?;
    let lines: Vec<String> = results
        .iter()
        .map(serde_json::to_string)
        .collect::<Result<_, _>>()?;
    let path = args.draw.images.join("results.jsonl");
    atomic_write(&path, lines.join("\n") + "\n")?;
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
    say(quiet, &format!("verdicts with reasons: {}", path.display()));
    Ok(ExitCode::SUCCESS)
}
