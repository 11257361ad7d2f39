//! `dmdr pretrain`.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result};
use dmdr_config::Pretrain;
use dmdr_events::{RunDir, atomic_write};
use dmdr_train::{Outcome, pretrain::pretrain};

use crate::{args::RunArgs, environment, interrupt, progress::{self, Progress}};

pub(crate) fn run(args: &RunArgs, quiet: bool) -> Result<ExitCode> {
    let config = Pretrain::load(&args.config, &args.set)?;
    for warning in config.warnings() {
        progress::say(quiet, &format!("warning: {warning}"));
    }
    for file in config.referenced_files() {
        fs::metadata(&file.path)
            .with_context(|| format!("`{}` names `{}`", file.key, file.path.display()))?;
    }
    let environment = environment::detect(&config.device.to_string());
    let run = if args.resume {
        RunDir::open(args.root.join(&config.name))?
    } else {
        let run = RunDir::create(&args.root, &config.name)?;
        run.write_config(&config.to_toml())?;
        run.write_env(&environment)?;
        run
    };
    interrupt::install();
    let mut observer = Progress::new(quiet, &["loss/", "accuracy"]);
    let notes = environment::notes(&environment, config.seed);
    match pretrain(&config, &run, args.resume, &notes, &mut observer)? {
        Outcome::Finished => {
            if let Some(output) = &args.output {
                let weights = fs::read(run.path().join("model.safetensors"))
                    .context("the finished weights")?;
                atomic_write(output, weights)?;
                progress::say(quiet, &format!("weights: {}", output.display()));
            }
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted { step } => {
            progress::say(quiet, &format!("stopped after update {step}; continue with --resume"));
            Ok(ExitCode::from(interrupt::EXIT_CODE))
        }
    }
}
