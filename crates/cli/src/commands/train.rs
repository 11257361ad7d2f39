//! `dmdr train`.

use std::{path::Path, process::ExitCode, rc::Rc};

use anyhow::Result;
use dmdr_config::{Experiment, World};
use dmdr_events::RunDir;
use dmdr_train::{Corpus, Distillation, Outcome, pin};

use super::{check_files, finish, run_dir};
use crate::{
    args::RunArgs,
    environment, interrupt,
    progress::{Progress, say},
};

pub(crate) fn run(args: &RunArgs, quiet: bool) -> Result<ExitCode> {
    let mut experiment = Experiment::load(&args.config, &args.set)?;
    if args.resume {
        keep_revision(&mut experiment, &args.root);
    }
    pin(&mut experiment)?;
    for warning in experiment.warnings() {
        say(quiet, &format!("warning: {warning}"));
    }
    check_files(&experiment.referenced_files())?;
    let corpus = read_prompts(&experiment, args, quiet)?;
    // Everything is loaded before a folder is made: bad inputs leave nothing behind.
    let distillation = Distillation::with_corpus(&experiment, corpus.as_ref())?;
    for warning in distillation.warnings() {
        say(quiet, &format!("warning: {warning}"));
    }
    let environment = environment::detect(&experiment.device.to_string());
    let run = run_dir(args, &experiment.name, &experiment.to_toml(), &environment)?;
    let outcome = distill(distillation, &experiment, &run, args.resume, quiet)?;
    if outcome == Outcome::Finished {
        let measure = match experiment.world {
            World::Preset(_) => format!("dmdr eval {}", run.path().display()),
            World::Prompts(_) | World::Classes(_) => "dmdr eval table".to_owned(),
        };
        say(quiet, &format!("measure it with `{measure}`"));
    }
    finish(outcome, &run, "student.safetensors", args, quiet)
}

/// Reads the prompt files, says what became of their rows, and refuses files that changed under the run to resume: before
/// anything is encoded.
fn read_prompts(
    experiment: &Experiment,
    args: &RunArgs,
    quiet: bool,
) -> Result<Option<Rc<Corpus>>> {
    let Some(corpus) = Corpus::read(experiment)? else {
        return Ok(None);
    };
    for line in corpus.census() {
        say(quiet, &line);
    }
    if let Some(warning) = corpus.warning()? {
        say(quiet, &format!("warning: {warning}"));
    }
    if args.resume
        && let Ok(begun) = RunDir::open(args.root.join(&experiment.name))
    {
        corpus.check(&begun)?;
    }
    Ok(Some(Rc::new(corpus)))
}

/// A branch of a repository may have moved since the run was started: it goes on with the commit that it began with.
fn keep_revision(experiment: &mut Experiment, root: &Path) {
    let config = root.join(&experiment.name).join("config.toml");
    let Ok(begun) = Experiment::load(config, &[]) else {
        return; // what is wrong with it is said where the run is opened
    };
    let asked = &experiment.teacher;
    if begun.teacher.weights == asked.weights && asked.revision.is_none() {
        experiment.teacher.revision = begun.teacher.revision;
    }
    if let (World::Prompts(asked), World::Prompts(begun)) = (&mut experiment.world, &begun.world) {
        asked.train.keep_revisions(&begun.train);
        asked.validation.keep_revisions(&begun.validation);
    }
}

/// Runs a distillation under the eyes of the progress bar.
pub(crate) fn distill(
    mut distillation: Distillation<'_>,
    experiment: &Experiment,
    run: &RunDir,
    resume: bool,
    quiet: bool,
) -> Result<Outcome> {
    let environment = environment::detect(&experiment.device.to_string());
    let notes = environment::notes(&environment, experiment.seed);
    interrupt::install();

    let mut progress = Progress::new(
        quiet,
        &["loss/", "reward/world_clip/mean", "reward/preference/mean"],
    );
    Ok(distillation.run(run, resume, &notes, &mut progress)?)
}
