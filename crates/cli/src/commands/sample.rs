//! `dmdr sample`: one row a prompt; teacher and student side by side on identical noise.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result, bail};
use dmdr_data::images_from_tensor;
use dmdr_eval::Sampler;
use dmdr_tensor::{Kind, Tensor, reseed};
use dmdr_train::FinishedRun;
use dmdr_world::Image;

use crate::{
    args::{SampleArgs, Who},
    progress::say,
};

pub(crate) fn run(args: &SampleArgs, quiet: bool) -> Result<ExitCode> {
    let mut captions = args.prompt.clone();
    if let Some(path) = &args.prompts {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read prompts `{}`", path.display()))?;
        captions.extend(
            text.lines()
                .map(str::trim)
                .filter(|l| !l.is_empty())
                .map(str::to_owned),
        );
    }
    if captions.is_empty() || args.count == 0 {
        bail!("nothing to draw: give `--prompt TEXT` or `--prompts FILE`, and `--count` above 0");
    }
    let trained = FinishedRun::open(&args.run)?;
    let (teacher, student) = (trained.teacher(), trained.student());
    let samplers: Vec<&dyn Sampler> = match args.who {
        Who::Teacher => vec![&teacher],
        Who::Student => vec![&student],
        Who::Both => vec![&teacher, &student],
    };
    let mut images: Vec<Image> = Vec::new();
    for caption in &captions {
        let prompts = trained
            .source
            .described(&vec![caption.clone(); args.count])?;
        for sampler in &samplers {
            let noise = noise(&trained, args);
            reseed(&[args.seed]);
            let made = sampler.sample(&prompts, &noise)?;
            images.extend(images_from_tensor(&made).iter().map(Image::viewable));
        }
    }
    Image::grid(&images, args.count * samplers.len()).to_png(&args.output)?;
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

/// Noise of image `i` depends on `seed + i` only.
fn noise(trained: &FinishedRun, args: &SampleArgs) -> Tensor {
    let [c, h, w] = trained.networks.backbone.image_shape();
    let noise: Vec<Tensor> = (0..args.count as u64)
        .map(|index| {
            reseed(&[args.seed + index]);
            Tensor::randn([c, h, w], (Kind::Float, trained.device))
        })
        .collect();
    Tensor::stack(&noise, 0)
}
