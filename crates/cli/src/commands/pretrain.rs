//! `dmdr pretrain`.

use std::process::ExitCode;

use anyhow::Result;
use dmdr_config::Pretrain;
use dmdr_train::pretrain::pretrain;

use super::{check_files, check_output, finish, run_dir};
use crate::{
    args::RunArgs,
    environment, interrupt,
    progress::{Progress, say},
};

pub(crate) fn run(args: &RunArgs, quiet: bool) -> Result<ExitCode> {
    let config = Pretrain::load(&args.config, &args.set)?;
    for warning in config.warnings() {
        say(quiet, &format!("warning: {warning}"));
    }
    check_files(&config.referenced_files())?;
    check_output(args, &config.referenced_files())?;
    let environment = environment::detect(&config.device.to_string());
    let run = run_dir(args, &config.name, &config.to_toml(), &environment)?;
    interrupt::install();
    let mut progress = Progress::new(quiet, &["loss/", "accuracy"]);
    let notes = environment::notes(&environment, config.seed);
    let outcome = pretrain(&config, &run, args.resume, &notes, &mut progress)?;
    finish(outcome, &run, "model.safetensors", args, quiet)
}
