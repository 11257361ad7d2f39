//! `dmdr eval`: teacher and student on the same prompts and noise.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Result, bail};
use dmdr_config::Table;
use dmdr_eval::{EvalSet, Evaluation, Provenance, Sampler, compare};
use dmdr_events::{Environment, EvalReport, InputFile, table};
use dmdr_train::{FinishedRun, measure_table};
use dmdr_world::Split;

use super::check_files;
use crate::args::{EvalArgs, EvalCommand, TableArgs, Who};
use dmdr_console::{
    environment,
    progress::{Counter, print_data, say},
};

pub(crate) fn run(args: &EvalArgs, quiet: bool) -> Result<ExitCode> {
    match &args.command {
        Some(EvalCommand::Table(args)) => return table_of_runs(args, quiet),
        Some(EvalCommand::Geneval(args)) => return super::geneval::run(args, quiet),
        Some(EvalCommand::Dpg(args)) => return super::dpg::run(args, quiet),
        None => {}
    }
    let run = args.run.as_ref().expect("required without a subcommand");
    let trained = FinishedRun::open(run)?;
    let reports = if trained.source.evaluator(&trained.experiment)?.is_some() {
        let set = EvalSet {
            split: args.split.unwrap_or(Split::Test),
            num_prompts: args.num_prompts,
            seeds: args.seeds.clone(),
        };
        measure(&trained, &set, args.who, quiet)?
    } else {
        measure_pictures(&trained, args, quiet)?
    };
    if args.json {
        print_data(&serde_json::to_string_pretty(&reports)?);
    } else {
        print_data(&table(&reports));
    }
    Ok(ExitCode::SUCCESS)
}

fn table_of_runs(args: &TableArgs, quiet: bool) -> Result<ExitCode> {
    let config = Table::load(&args.config, &args.set)?;
    check_files(&config.referenced_files())?;
    let environment = environment::detect(&config.device.to_string());
    let folder = args.root.join(&config.name);
    let mut counters: Vec<(String, Counter)> = Vec::new();
    let report = measure_table(&config, &folder, environment, &mut |model, done, of| {
        if counters.last().is_none_or(|(name, _)| name != model) {
            counters.push((model.to_owned(), Counter::new(quiet, model)));
        }
        let (_, counter) = counters.last_mut().expect("just pushed");
        counter.update(done, of);
    })?;
    if args.json {
        print_data(&serde_json::to_string_pretty(&report)?);
    } else {
        print_data(report.to_markdown().trim_end());
    }
    say(
        quiet,
        &format!("table: {}", folder.join("table.md").display()),
    );
    Ok(ExitCode::SUCCESS)
}

/// Evaluates, writes the reports into the run, and says which differences are significant.
pub(crate) fn measure(
    trained: &FinishedRun,
    set: &EvalSet,
    who: Who,
    quiet: bool,
) -> Result<Vec<EvalReport>> {
    let evaluator = trained.evaluator()?;
    let (teacher, student) = (trained.teacher(), trained.student());
    let samplers = samplers(trained, (&teacher, &student), who);
    let environment = environment::detect(&trained.experiment.device.to_string());
    let mut evaluations: Vec<Evaluation> = Vec::new();
    let mut reports = Vec::new();
    for (sampler, checkpoint) in samplers {
        let mut counter = Counter::new(quiet, sampler.name());
        let evaluation =
            evaluator.evaluate(sampler, set, &mut |done, total| counter.update(done, total))?;
        let towers = evaluator.towers().clone();
        let report =
            evaluation
                .measured()
                .report(provenance(&environment, sampler, checkpoint, towers));
        let name = format!("{}-{}", sampler.name(), set.split_name());
        trained.run.write_eval(&name, &report)?;
        evaluation.write(&trained.run.scores(&name)?)?;
        reports.push(report);
        evaluations.push(evaluation);
    }
    if let [teacher, student] = &evaluations[..] {
        for (metric, interval) in &compare(student, teacher)?.intervals {
            let verdict = if interval.is_significant() {
                ""
            } else {
                " (not significant)"
            };
            say(
                quiet,
                &format!(
                    "student - teacher, {metric}: {:+.3} [{:+.3}, {:+.3}]{verdict}",
                    interval.mean, interval.low, interval.high
                ),
            );
        }
    }
    Ok(reports)
}

/// Measures a run where no truth is known, and writes the reports into it.
fn measure_pictures(
    trained: &FinishedRun,
    args: &EvalArgs,
    quiet: bool,
) -> Result<Vec<EvalReport>> {
    if args.split.is_some_and(|split| split != Split::Validation) {
        bail!(
            "`--split`: only the emoji world has test prompts; this run is measured on its validation prompts"
        );
    }
    let measure = trained.measure(args.num_prompts, &args.seeds)?;
    let (teacher, student) = (trained.teacher(), trained.student());
    let environment = environment::detect(&trained.experiment.device.to_string());
    let mut reports = Vec::new();
    for (sampler, checkpoint) in samplers(trained, (&teacher, &student), args.who) {
        let mut counter = Counter::new(quiet, sampler.name());
        let measured = measure.measure(sampler, &mut |done, total| counter.update(done, total))?;
        let towers = BTreeMap::new();
        let report = measured.report(provenance(&environment, sampler, checkpoint, towers));
        let name = format!("{}-{}", sampler.name(), report.split);
        trained.run.write_eval(&name, &report)?;
        reports.push(report);
    }
    Ok(reports)
}

/// Those of a run that are asked for, with their weights.
fn samplers<'a>(
    trained: &FinishedRun,
    (teacher, student): (&'a dyn Sampler, &'a dyn Sampler),
    who: Who,
) -> Vec<(&'a dyn Sampler, String)> {
    let mut samplers = Vec::new();
    if who != Who::Student {
        let weights = trained.experiment.teacher.weights.display();
        samplers.push((teacher, weights.to_string()));
    }
    if who != Who::Teacher {
        samplers.push((student, trained.weights.display().to_string()));
    }
    samplers
}

fn provenance(
    environment: &Environment,
    sampler: &dyn Sampler,
    checkpoint: String,
    towers: BTreeMap<String, InputFile>,
) -> Provenance {
    Provenance {
        what: sampler.name().to_owned(),
        checkpoint,
        towers,
        command: environment.command.clone(),
        commit: environment.commit.clone(),
        machine: environment.machine(),
    }
}
