//! `dmdr pretrain`.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use dmdr_config::Pretrain;
use dmdr_console::{environment, interrupt, progress::Progress};
use dmdr_tensor::{Runtime, precision_warning};
use dmdr_train::{
    Inputs,
    pretrain::{objective, pretrain},
};

use super::{
    begin, check_config, check_files, check_output, damaged_config, finish, resumed, say_warning,
};
use crate::args::RunArgs;

pub(crate) fn run(args: &RunArgs, quiet: bool) -> Result<ExitCode> {
    let config = Pretrain::load(&args.config, &args.set)?;
    let resumed = resumed(args, &config.name)?;
    if let Some(run) = &resumed {
        let begun = Pretrain::load(run.config(), &[]).context(damaged_config())?;
        check_config(run, &begun.to_toml(), &config.to_toml())?;
    }
    for warning in config.warnings() {
        say_warning(Some(&warning));
    }
    let runtime = Runtime::new(config.device, config.precision)?;
    say_warning(precision_warning(config.precision, runtime.device).as_deref());
    check_files(&config.referenced_files())?;
    check_output(args, &config.name, &config.referenced_files())?;
    if let Some(run) = &resumed {
        let warning = Inputs::of_pretraining(&config)?.check(run)?;
        say_warning(warning.as_deref());
    }
    // Everything is loaded before a folder is made: bad inputs leave nothing behind.
    let objective = objective(&config, runtime)?;
    let environment = environment::detect(&config.device.to_string());
    let run = begin(resumed, args, &config.name, &config.to_toml(), &environment)?;
    interrupt::install();
    let mut progress = Progress::new(quiet, &["loss/*", "accuracy"]);
    let notes = environment::notes(&environment, config.seed);
    let outcome = pretrain(&config, objective, &run, args.resume, &notes, &mut progress)?;
    finish(outcome, &run, "model.safetensors", args, quiet)
}
