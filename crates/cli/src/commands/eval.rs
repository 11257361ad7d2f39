//! `dmdr eval`: teacher and student on the same prompts and noise.

use std::process::ExitCode;

use anyhow::Result;
use dmdr_eval::{EvalSet, Evaluation, Provenance, Sampler, compare};
use dmdr_events::{EvalReport, table};
use dmdr_train::FinishedRun;
use dmdr_world::Split;

use crate::{
    args::{EvalArgs, SplitArg, Who},
    environment,
    progress::{Counter, print_data, say},
};

pub(crate) fn run(args: &EvalArgs, quiet: bool) -> Result<ExitCode> {
    let trained = FinishedRun::open(&args.run)?;
    let set = EvalSet {
        split: match args.split {
            SplitArg::Train => Split::Train,
            SplitArg::Validation => Split::Validation,
            SplitArg::Test => Split::Test,
        },
        num_prompts: args.num_prompts,
        seeds: args.seeds.clone(),
    };
    let reports = measure(&trained, &set, args.who, quiet)?;
    if args.json {
        print_data(&serde_json::to_string_pretty(&reports)?);
    } else {
        print_data(&table(&reports));
    }
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
    let mut samplers: Vec<(&dyn Sampler, String)> = Vec::new();
    if who != Who::Student {
        samplers.push((
            &teacher,
            trained.experiment.teacher.weights.display().to_string(),
        ));
    }
    if who != Who::Teacher {
        samplers.push((&student, trained.weights.display().to_string()));
    }
    let environment = environment::detect(&trained.experiment.device.to_string());
    let mut evaluations: Vec<Evaluation> = Vec::new();
    let mut reports = Vec::new();
    for (sampler, checkpoint) in samplers {
        let mut counter = Counter::new(quiet, sampler.name());
        let evaluation =
            evaluator.evaluate(sampler, set, &mut |done, total| counter.update(done, total))?;
        let report = evaluation.report(Provenance {
            what: sampler.name().to_owned(),
            checkpoint,
            command: environment.command.clone(),
            commit: environment.commit.clone(),
            machine: environment.machine(),
        });
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
                    interval.difference, interval.low, interval.high
                ),
            );
        }
    }
    Ok(reports)
}
