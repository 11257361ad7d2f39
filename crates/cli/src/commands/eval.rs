//! `dmdr eval`: teacher and student on the same prompts and noise.

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use anyhow::{Result, bail};
use dmdr_config::Table;
use dmdr_console::{
    environment,
    progress::{Counter, print_data, say},
};
use dmdr_eval::{EvalSet, Evaluation, Measured, Sampler, compare};
use dmdr_events::{EvalReport, InputFile, table};
use dmdr_train::{FinishedRun, measure_table};
use dmdr_world::Split;

use super::check_files;
use crate::args::{EvalArgs, EvalCommand, TableArgs, Who};

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
    let mut evaluations: Vec<Evaluation> = Vec::new();
    let towers = evaluator.towers();
    let reports = reports(trained, who, towers, quiet, &mut |sampler, progress| {
        let evaluation = evaluator.evaluate(sampler, set, progress)?;
        let name = format!("{}-{}", sampler.name(), set.split_name());
        evaluation.write(&trained.run.scores(&name)?)?;
        let measured = evaluation.measured.clone();
        evaluations.push(evaluation);
        Ok(measured)
    })?;
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
    let towers = BTreeMap::new();
    reports(
        trained,
        args.who,
        &towers,
        quiet,
        &mut |sampler, progress| Ok(measure.measure(sampler, progress)?),
    )
}

/// A sampler's measurement, which tells how far it is.
type Measuring<'a> = dyn FnMut(&dyn Sampler, &mut dyn FnMut(usize, usize)) -> Result<Measured> + 'a;

/// Measures those of a run's samplers that are asked for, by `towers`, and writes the reports into it.
fn reports(
    trained: &FinishedRun,
    who: Who,
    towers: &BTreeMap<String, InputFile>,
    quiet: bool,
    measure: &mut Measuring,
) -> Result<Vec<EvalReport>> {
    let (teacher, student) = (trained.teacher(), trained.student());
    let mut samplers: Vec<(&dyn Sampler, &Path)> = Vec::new();
    if who != Who::Student {
        samplers.push((&teacher, &trained.experiment.teacher.weights));
    }
    if who != Who::Teacher {
        samplers.push((&student, &trained.weights));
    }
    let environment = environment::detect(&trained.experiment.device.to_string());
    let mut reports = Vec::new();
    for (sampler, checkpoint) in samplers {
        let (what, checkpoint) = (sampler.name(), checkpoint.display().to_string());
        let mut counter = Counter::new(quiet, what);
        let measured = measure(sampler, &mut |done, total| counter.update(done, total))?;
        let report = measured.report(what, checkpoint, towers.clone(), &environment);
        let name = format!("{what}-{}", report.split);
        trained.run.write_eval(&name, &report)?;
        reports.push(report);
    }
    Ok(reports)
}
