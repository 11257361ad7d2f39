//! `dmdr demo`: the whole product in small.

use std::{fs, path::Path, process::ExitCode, time::Instant};

use anyhow::Result;
use dmdr_config::Experiment;
use dmdr_console::{
    environment, interrupt,
    progress::{print_data, say},
};
use dmdr_eval::EvalSet;
use dmdr_events::{OwnedRun, table};
use dmdr_train::{Distillation, FinishedRun, Outcome};
use dmdr_world::Split;

use super::{check_files, eval::measure, say_warning, train::distill};
use crate::args::{DemoArgs, Who};

pub(crate) fn run(args: &DemoArgs, quiet: bool) -> Result<ExitCode> {
    let started = Instant::now();
    let (config, num_prompts, seeds) = if args.quick {
        ("configs/demo-quick.toml", 60, vec![0])
    } else {
        ("configs/demo.toml", 120, vec![0, 1, 2])
    };
    let experiment = Experiment::load(config, &[])?;
    check_files(&experiment.referenced_files())?;
    let distillation = Distillation::new(&experiment)?;
    let run = open(&args.root, &experiment, quiet)?;
    say_warning(run.warning());
    let resume = !run.list_checkpoints()?.is_empty();
    say(
        quiet,
        "teacher and student draw the same prompts from the same noise; pictures as they come:",
    );
    if let Outcome::Interrupted { update } =
        distill(distillation, &experiment, &run, resume, quiet)?
    {
        say(
            quiet,
            &format!("stopped after update {update}; the same command continues there"),
        );
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    say(quiet, "measuring on test prompts:");
    let trained = FinishedRun::open(run.path())?;
    let set = EvalSet {
        split: Split::Test,
        num_prompts,
        seeds,
    };
    let reports = measure(&trained, &set, Who::Both, quiet)?;
    print_data(&table(&reports));
    let page = dmdr_report::write(&run)?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    print_data(&format!(
        "page: {}   ({minutes:.1} minutes)",
        page.display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// A demo that was stopped goes on; a finished one starts again.
fn open(root: &Path, experiment: &Experiment, quiet: bool) -> Result<OwnedRun> {
    let path = root.join(&experiment.name);
    if path.join("config.toml").is_file() {
        let run = OwnedRun::open(&path)?;
        let same = fs::read_to_string(run.config()).is_ok_and(|text| text == experiment.to_toml());
        let finished = path.join("student.safetensors").exists();
        if same && !finished && !run.list_checkpoints()?.is_empty() {
            say(quiet, &format!("continuing {}", path.display()));
            return Ok(run);
        }
    }
    let run = OwnedRun::replace(root, &experiment.name)?;
    run.write_env(&environment::detect(&experiment.device.to_string()))?;
    run.write_config(&experiment.to_toml())?; // last: with it the run exists
    Ok(run)
}
