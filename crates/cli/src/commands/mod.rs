//! One file a command.

mod config;
mod demo;
mod doctor;
mod dpg;
mod draw;
mod eval;
mod export;
mod geneval;
mod import;
mod lab;
mod pretrain;
mod report;
mod sample;
mod scores;
mod train;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use dmdr_config::ReferencedFile;
use dmdr_events::{Environment, RunDir};
use dmdr_train::Outcome;

use crate::{
    args::{Args, Command, RunArgs},
    interrupt,
    output::{check_weights, inputs},
    progress::say,
};

/// Dispatches.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Demo(demo) => demo::run(demo, args.quiet),
        Command::Pretrain(run) => pretrain::run(run, args.quiet),
        Command::Train(run) => train::run(run, args.quiet),
        Command::Sample(sample) => sample::run(sample, args.quiet),
        Command::Eval(eval) => eval::run(eval, args.quiet),
        Command::Export(export) => export::run(export),
        Command::Import(import) => import::run(import, args.quiet),
        Command::Report(report) => report::run(report, args.quiet),
        Command::Lab(lab) => lab::run(lab, args.quiet),
        Command::Config(command) => config::run(command),
        Command::Doctor(doctor) => doctor::run(doctor),
    }
}

/// Makes the folder of a new run, or opens the one to resume.
fn run_dir(args: &RunArgs, name: &str, config: &str, environment: &Environment) -> Result<RunDir> {
    let path = args.root.join(name);
    // A run killed before its config was written has nothing to resume: it starts.
    let is_unborn = path.is_dir() && !path.join("config.toml").exists();
    if args.resume && !is_unborn {
        return Ok(RunDir::open(path)?);
    }
    let run = RunDir::create(&args.root, name)?;
    run.write_env(environment)?;
    run.write_config(config)?; // last: with it the run exists
    Ok(run)
}

/// Fails before any work when a file that a config names is not there.
fn check_files(files: &[ReferencedFile]) -> Result<()> {
    for file in files {
        std::fs::metadata(&file.path)
            .with_context(|| format!("key `{}` names `{}`", file.key, file.path.display()))?;
    }
    Ok(())
}

/// Checks, before any work, that `--output` and its card may be written by a command that reads `files` besides its config.
fn check_output(args: &RunArgs, files: &[ReferencedFile]) -> Result<()> {
    let Some(output) = &args.output else {
        return Ok(());
    };
    check_weights(output)?;
    let inputs = inputs(&args.config, files);
    args.overwrite.check(&output_files(output), &inputs)
}

/// The weights, their card and its curve.
fn output_files(output: &Path) -> Vec<PathBuf> {
    let card = dmdr_report::card_files(output);
    [output.to_owned()].into_iter().chain(card).collect()
}

/// Copies finished weights, a file of the run, to `--output` with their card, and turns the outcome into an exit code.
fn finish(
    outcome: Outcome,
    run: &RunDir,
    weights: &str,
    args: &RunArgs,
    quiet: bool,
) -> Result<ExitCode> {
    match outcome {
        Outcome::Finished => {
            if let Some(output) = &args.output {
                let what = || {
                    format!(
                        "the run is finished, and its weights are in `{}`",
                        run.path().display()
                    )
                };
                args.overwrite
                    .check(&output_files(output), &[])
                    .with_context(what)?;
                let bytes =
                    std::fs::read(run.path().join(weights)).context("the finished weights")?;
                dmdr_events::atomic_write(output, bytes)?;
                let card = dmdr_report::write_card(run, output)?;
                say(quiet, &format!("weights: {}", output.display()));
                say(quiet, &format!("card: {}", card.display()));
            }
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Interrupted { step } => {
            say(
                quiet,
                &format!("stopped after update {step}; continue with --resume"),
            );
            Ok(ExitCode::from(interrupt::EXIT_CODE))
        }
    }
}
