//! `dmdr train`.

use std::{path::Path, process::ExitCode, rc::Rc, time::Duration};

use anyhow::{Context as _, Result};
use dmdr_config::{Experiment, World};
use dmdr_console::{
    environment, interrupt,
    progress::{Progress, say},
};
use dmdr_events::{OwnedRun, RunDir};
use dmdr_tensor::{Place, Ranks, Runtime, precision_warning};
use dmdr_train::{Assembly, Checkpoint, Corpus, Distillation, Inputs, Outcome, TrainError, pin};

use super::{
    begin, check_config, check_files, check_output, damaged_config, finish, resumed, say_warning,
};
use crate::args::{RunArgs, TrainArgs};

pub(crate) fn run(args: &TrainArgs, quiet: bool) -> Result<ExitCode> {
    let experiment = Experiment::load(&args.run.config, &args.run.set)?;
    let place = Place::find(|name| std::env::var(name).ok())?;
    let (device, precision) = (experiment.device, experiment.precision);
    let runtime = match &place {
        None => Runtime::new(device, precision)?,
        Some(place) => {
            let timeout = Duration::from_secs(args.timeout);
            Runtime::join(device, precision, place, timeout)?
        }
    };
    if runtime.ranks.is_first() {
        lead(&args.run, experiment, runtime, quiet)
    } else {
        follow(&args.run, experiment, runtime)
    }
}

/// Trains, and writes and measures what comes of it; the only process, or the first of several.
fn lead(
    args: &RunArgs,
    mut experiment: Experiment,
    runtime: Runtime,
    quiet: bool,
) -> Result<ExitCode> {
    let ranks = runtime.ranks;
    let (resumed, corpus) = ranks.lead(|| prepare(args, &mut experiment, runtime, quiet))??;
    // Everything is loaded before a folder is made: bad inputs leave nothing behind.
    let assembly = Assembly::of(&experiment, runtime).with_corpus(corpus);
    let distillation = ranks.lead(|| assembly.distillation())??;
    for warning in distillation.warnings() {
        say_warning(Some(&warning));
    }
    let environment = environment::detect(&experiment.device.to_string());
    let config = experiment.to_toml();
    let run = begin(resumed, args, &experiment.name, &config, &environment)?;
    // What is cached is written by now; the others load.
    ranks.words(&config)?;
    let outcome = distill(distillation, &experiment, &run, args.resume, quiet)?;
    if outcome == Outcome::Finished {
        // Where no truth is known, a run is measured by what its config names.
        let is_measurable = matches!(experiment.world, World::Preset(_))
            || !experiment.evaluation.names().is_empty();
        let measure = if is_measurable {
            format!("dmdr eval {}", run.path().display())
        } else {
            "dmdr eval table --config configs/table1.toml".to_owned()
        };
        say(quiet, &format!("measure it with `{measure}`"));
    }
    finish(outcome, &run, "student.safetensors", args, quiet)
}

/// Checks what can be checked before anything large is loaded, and reads the prompts; gives the run that goes on.
fn prepare(
    args: &RunArgs,
    experiment: &mut Experiment,
    runtime: Runtime,
    quiet: bool,
) -> Result<(Option<OwnedRun>, Option<Rc<Corpus>>)> {
    let resumed = resumed(args, &experiment.name)?;
    let begun = resumed.as_ref().map(begun_with).transpose()?;
    if let (Some(run), Some(begun)) = (&resumed, &begun) {
        go_on(experiment, begun, quiet);
        share_evenly(experiment, run, runtime.ranks, quiet)?;
    }
    let pinned = pin(experiment)?;
    if let (Some(run), Some(begun)) = (&resumed, &begun) {
        check_config(
            run,
            &begun.resumable().to_toml(),
            &experiment.resumable().to_toml(),
        )?;
    }
    for warning in pinned.into_iter().chain(experiment.warnings()) {
        say_warning(Some(&warning));
    }
    say_warning(precision_warning(experiment.precision, runtime.device).as_deref());
    check_files(&experiment.referenced_files())?;
    check_output(args, &experiment.name, &experiment.referenced_files())?;
    if let Some(run) = &resumed {
        let warning = Inputs::of(experiment, None)?.check(run)?;
        say_warning(warning.as_deref());
    }
    let corpus = read_prompts(experiment, resumed.as_ref(), quiet)?;
    Ok((resumed, corpus))
}

/// Trains in step with the first process.
fn follow(args: &RunArgs, mut experiment: Experiment, runtime: Runtime) -> Result<ExitCode> {
    // While it prepares, and while it loads, encodes and caches.
    runtime.ranks.serve()?;
    runtime.ranks.serve()?;
    let first = runtime.ranks.words("")?;
    let first = Experiment::parse(Path::new("the config of process 0"), &first, &[])?;
    experiment = experiment.computed_like(&first);
    let run = RunDir::open(args.root.join(&experiment.name))?;
    let begun = Experiment::load(run.config(), &[]).context(damaged_config())?;
    keep_revision(&mut experiment, &begun);
    drop(pin(&mut experiment)?);
    check_config(
        &run,
        &begun.resumable().to_toml(),
        &experiment.resumable().to_toml(),
    )?;
    let corpus = Corpus::read(&experiment)?.map(Rc::new);
    let mut distillation = Assembly::of(&experiment, runtime)
        .with_corpus(corpus)
        .distillation()?;
    interrupt::install();
    match distillation.follow(&run, &mut Progress::new(true, &[]))? {
        Outcome::Finished => Ok(ExitCode::SUCCESS),
        Outcome::Interrupted { .. } => Ok(ExitCode::from(interrupt::EXIT_CODE)),
    }
}

/// Makes a run that goes on with another number of processes take as many batches an update as before.
fn share_evenly(
    experiment: &mut Experiment,
    run: &RunDir,
    ranks: Ranks,
    quiet: bool,
) -> Result<()> {
    let ranks = ranks.count();
    let Some(batches) = Checkpoint::batches_of(run)? else {
        return Ok(());
    };
    let accumulate = batches / ranks;
    if batches != accumulate * ranks {
        let run = run.path().to_owned();
        return Err(TrainError::UnevenRanks {
            run,
            batches,
            ranks,
        }
        .into());
    }
    if experiment.accumulate as u64 != accumulate {
        experiment.accumulate = accumulate as usize;
        let text = format!(
            "an update takes {batches} batches together, as when the run began: {ranks} processes, accumulate = {accumulate}"
        );
        say(quiet, &text);
    }
    Ok(())
}

/// Reads the prompt files, says what became of their rows, and refuses files that changed under the run to resume: before
/// anything is encoded.
fn read_prompts(
    experiment: &Experiment,
    resumed: Option<&OwnedRun>,
    quiet: bool,
) -> Result<Option<Rc<Corpus>>> {
    let Some(corpus) = Corpus::read(experiment)? else {
        return Ok(None);
    };
    for line in corpus.census() {
        say(quiet, &line);
    }
    say_warning(corpus.warning()?.as_deref());
    if let Some(run) = resumed {
        corpus.check(run)?;
    }
    Ok(Some(Rc::new(corpus)))
}

/// The config that a run began with.
fn begun_with(run: &OwnedRun) -> Result<Experiment> {
    Experiment::load(run.config(), &[]).context(damaged_config())
}

/// What a run that goes on keeps of its beginning: a branch of a repository may have moved since, but the commit stays.
/// Judges elsewhere may have moved as well, and that is said.
fn go_on(experiment: &mut Experiment, begun: &Experiment, quiet: bool) {
    for key in experiment.moved_judges(begun) {
        say(
            quiet,
            &format!(
                "note: `{key}` has other settings than when the run began; it counts as the same reward"
            ),
        );
    }
    keep_revision(experiment, begun);
}

fn keep_revision(experiment: &mut Experiment, begun: &Experiment) {
    let asked = &experiment.teacher;
    if begun.teacher.weights == asked.weights && asked.revision.is_none() {
        experiment
            .teacher
            .revision
            .clone_from(&begun.teacher.revision);
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
    run: &OwnedRun,
    resume: bool,
    quiet: bool,
) -> Result<Outcome> {
    let environment = environment::detect(&experiment.device.to_string());
    let notes = environment::notes(&environment, experiment.seed);
    interrupt::install();

    let mut progress = Progress::new(quiet, &["loss/*", "reward/*/mean"]);
    Ok(distillation.run(run, resume, &notes, &mut progress)?)
}
