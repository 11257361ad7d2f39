//! One file a command.

mod bench;
mod config;
mod demo;
mod doctor;
mod dpg;
mod draw;
mod eval;
mod export;
mod geneval;
mod import;
mod pretrain;
mod report;
mod sample;
mod scores;
mod train;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};
use dmdr_config::{ReferencedFile, differences};
use dmdr_console::{interrupt, neighbours, progress::say};
use dmdr_events::{Environment, OwnedRun, RunDir};
use dmdr_train::{Outcome, TrainError};

use crate::{
    args::{Args, Command, RunArgs},
    output::{check_weights, inputs},
};

/// Dispatches.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if computes(&args.command) {
        neighbours::make_way(args.quiet);
    }
    match &args.command {
        Command::Demo(demo) => demo::run(demo, args.quiet),
        Command::Pretrain(run) => pretrain::run(run, args.quiet),
        Command::Train(run) => train::run(run, args.quiet),
        Command::Sample(sample) => sample::run(sample, args.quiet),
        Command::Eval(eval) => eval::run(eval, args.quiet),
        Command::Export(export) => export::run(export),
        Command::Import(import) => import::run(import, args.quiet),
        Command::Report(report) => report::run(report, args.quiet),
        Command::Config(command) => config::run(command),
        Command::Doctor(doctor) => doctor::run(doctor),
        Command::Bench(bench) => bench::run(bench),
    }
}

/// Whether a command calls networks, for longer than a look at other processes takes.
fn computes(command: &Command) -> bool {
    matches!(
        command,
        Command::Demo(_)
            | Command::Pretrain(_)
            | Command::Train(_)
            | Command::Sample(_)
            | Command::Eval(_)
    )
}

/// The run to go on with, held by this process from now on; none if a new one is to be made, for which there is room. With
/// `--resume` a run that is not there starts: one job script serves all starts of a run.
fn resumed(args: &RunArgs, name: &str) -> Result<Option<OwnedRun>> {
    let path = args.root.join(name);
    // A run killed before its config was written has nothing to resume either.
    let is_unborn = !path.exists() || (path.is_dir() && !path.join("config.toml").exists());
    if !args.resume || is_unborn {
        OwnedRun::check_free(&args.root, name)?;
        if args.resume {
            say(
                false,
                &format!("`{}` has nothing to resume: it starts", path.display()),
            );
        }
        return Ok(None);
    }
    let run = OwnedRun::open(&path)?;
    say_warning(run.warning());
    Ok(Some(run))
}

/// `resumed`, or the folder of a new run.
fn begin(
    resumed: Option<OwnedRun>,
    args: &RunArgs,
    name: &str,
    config: &str,
    environment: &Environment,
) -> Result<OwnedRun> {
    if let Some(run) = resumed {
        return Ok(run);
    }
    let run = OwnedRun::create(&args.root, name)?;
    say_warning(run.warning());
    run.write_env(environment)?;
    run.write_config(config)?; // last: with it the run exists
    Ok(run)
}

/// A warning is said also by `--quiet`: something may be wrong.
fn say_warning(warning: Option<&str>) {
    if let Some(warning) = warning {
        say(false, &format!("warning: {warning}"));
    }
}

/// Refuses a config, as TOML, that is another one than `run` began with, `begun`.
fn check_config(run: &RunDir, begun: &str, now: &str) -> Result<()> {
    const SHOWN: usize = 4;
    let differences = differences(&run.config(), begun, now)?;
    if differences.is_empty() {
        return Ok(());
    }
    let mut words: Vec<String> = differences
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    if differences.len() > SHOWN {
        words.push(format!("{} more", differences.len() - SHOWN));
    }
    Err(TrainError::OtherKeys {
        run: run.path().to_owned(),
        differences: words,
    }
    .into())
}

/// What to do about a run whose own config cannot be read.
fn damaged_config() -> &'static str {
    "the run's own config is damaged, or of another version of dmdr: put a whole copy back, or train under another `name`"
}

/// Fails before any work when files that a config names are not there; all of them are named.
fn check_files(files: &[ReferencedFile]) -> Result<()> {
    let missing = files.iter().filter_map(|file| {
        let error = std::fs::metadata(&file.path).err()?;
        Some(format!(
            "key `{}` names `{}`: {error}",
            file.key,
            file.path.display()
        ))
    });
    let missing: Vec<String> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("{}", missing.join("\n"))
}

/// Checks, before any work, that `--output` and its card may be written by a command that reads `files` besides its config.
fn check_output(args: &RunArgs, name: &str, files: &[ReferencedFile]) -> Result<()> {
    let Some(output) = &args.output else {
        return Ok(());
    };
    check_weights(output)?;
    let mut inputs = inputs(&args.config, files);
    inputs.push(args.root.join(name)); // a resumed run reads its own checkpoints
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
        Outcome::Interrupted { update } => {
            say(
                quiet,
                &format!("stopped after update {update}; continue with --resume"),
            );
            Ok(ExitCode::from(interrupt::EXIT_CODE))
        }
    }
}
