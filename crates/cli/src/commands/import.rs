//! `dmdr import`: an adapter of another tool becomes the start of a student.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Result, bail};
use dmdr_config::{Experiment, Tuning};
use dmdr_tensor::{Kind, phantom, write_tensors};
use dmdr_train::{Networks, Source, import, pin};

use super::check_files;
use crate::{args::ImportArgs, progress::say};

pub(crate) fn run(args: &ImportArgs, quiet: bool) -> Result<ExitCode> {
    let mut experiment = Experiment::load(&args.config, &args.set)?;
    let Tuning::Lora(lora) = experiment.student.tuning.clone() else {
        bail!(
            "key `student.tuning` trains all weights; an adapter is imported for `[student.tuning.lora]`"
        );
    };
    for warning in pin(&mut experiment)? {
        say(quiet, &format!("warning: {warning}"));
    }
    check_files(&experiment.referenced_files())?;
    // Only the names and shapes of the adapter are asked for.
    let device = phantom::device();
    let source = Source::load(&experiment, device)?;
    let networks = Networks::build(&experiment, &source, device, Kind::Float)?;
    let tensors = import(
        &networks.student,
        lora.alpha / lora.rank as f64,
        &args.adapter,
    )?;
    let notes = BTreeMap::from([("format".to_owned(), "dmdr.lora".to_owned())]);
    write_tensors(&args.output, &tensors, Kind::Float, &notes)?;
    let output = args.output.display();
    say(
        quiet,
        &format!("start from it with `--set student.init={output}`"),
    );
    Ok(ExitCode::SUCCESS)
}
