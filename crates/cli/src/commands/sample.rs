//! `dmdr sample`: one row a prompt; teacher and student side by side on identical noise.

use std::{collections::BTreeMap, fs, process::ExitCode};

use anyhow::{Context, Result, bail};
use dmdr_eval::Sampler;
use dmdr_events::atomic_write;
use dmdr_tensor::{Kind, Tensor, write_tensors};
use dmdr_train::FinishedRun;
use dmdr_world::Image;
use serde_json::json;

use crate::{
    args::{SampleArgs, Who},
    progress::say,
};

pub(crate) fn run(args: &SampleArgs, quiet: bool) -> Result<ExitCode> {
    let captions = captions(args)?;
    let trained = FinishedRun::open(&args.run)?;
    let (teacher, student) = (trained.teacher(), trained.student());
    let samplers: Vec<&dyn Sampler> = match args.who {
        Who::Teacher => vec![&teacher],
        Who::Student => vec![&student],
        Who::Both => vec![&teacher, &student],
    };
    if let Some(folder) = &args.images {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
    }
    trained.source.prepare(&captions)?;
    let mut cells: Vec<Image> = Vec::new();
    let mut tensors = Vec::new();
    for (row, caption) in captions.iter().enumerate() {
        for sampler in &samplers {
            let images = trained.draw(*sampler, caption, args.seed, args.count)?;
            for (image, seed) in images.iter().zip(args.seed..) {
                if let Some(folder) = &args.images {
                    let name = format!("{row:03}-{}-{seed}.png", sampler.name());
                    let text = parameters(args, *sampler, caption, seed, image);
                    atomic_write(folder.join(name), image.png(&[("parameters", &text)]))?;
                }
                if args.tensors.is_some() {
                    let shape = [3, image.height as i64, image.width as i64];
                    tensors.push(Tensor::from_slice(&image.data).reshape(shape));
                }
                cells.push(image.viewable());
            }
        }
    }
    let names: Vec<&str> = samplers.iter().map(|sampler| sampler.name()).collect();
    let made_with = json!({
        "run": args.run, "prompts": captions, "who": names, "first_seed": args.seed, "count": args.count,
        "commit": env!("DMDR_COMMIT"),
    });
    let grid = Image::grid(&cells, args.count * samplers.len());
    let made_with = made_with.to_string();
    atomic_write(&args.output, grid.png(&[("dmdr", &made_with)]))?;
    if let Some(path) = &args.tensors {
        let images = BTreeMap::from([("images".to_owned(), Tensor::stack(&tensors, 0))]);
        let notes = BTreeMap::from([("dmdr".to_owned(), made_with)]);
        write_tensors(path, &images, Kind::Float, &notes)?;
    }
    let who: Vec<String> = samplers
        .iter()
        .map(|sampler| {
            format!(
                "{} ({} evaluations)",
                sampler.name(),
                sampler.num_evaluations()
            )
        })
        .collect();
    say(
        quiet,
        &format!("{}: {}", args.output.display(), who.join(", ")),
    );
    Ok(ExitCode::SUCCESS)
}

/// The prompts of `--prompt`, then those of `--prompts`.
fn captions(args: &SampleArgs) -> Result<Vec<String>> {
    let mut captions = args.prompt.clone();
    if let Some(path) = &args.prompts {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read prompts `{}`", path.display()))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        captions.extend(lines.map(str::to_owned));
    }
    if captions.is_empty() || args.count == 0 {
        bail!("nothing to draw: give `--prompt TEXT` or `--prompts FILE`, and `--count` above 0");
    }
    Ok(captions)
}

/// How an image was made, in the words that interfaces for diffusion models read from its file.
fn parameters(
    args: &SampleArgs,
    sampler: &dyn Sampler,
    caption: &str,
    seed: u64,
    image: &Image,
) -> String {
    format!(
        "{caption}\nSteps: {}, Sampler: {}, CFG scale: {}, Seed: {seed} of a batch from {}, Size: {}x{}, Model: {}, Version: dmdr {}",
        sampler.num_evaluations(),
        sampler.name(),
        sampler.guidance(),
        args.seed,
        image.width,
        image.height,
        args.run.display(),
        env!("DMDR_COMMIT"),
    )
}
