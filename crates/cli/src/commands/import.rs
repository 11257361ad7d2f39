//! `dmdr import`: an adapter of another tool becomes the start of a student.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::{Result, bail};
use dmdr_config::{Experiment, NetId, Tuning};
use dmdr_console::progress::say;
use dmdr_tensor::{Kind, Runtime, phantom, write_tensors};
use dmdr_train::{AdapterFile, TextEncoders, import, lora_notes, networks, open_source, pin};

use super::{check_files, say_warning};
use crate::{
    args::ImportArgs,
    output::{check_weights, inputs},
};

pub(crate) fn run(args: &ImportArgs, quiet: bool) -> Result<ExitCode> {
    let mut experiment = Experiment::load(&args.config, &args.set)?;
    let Tuning::Lora(lora) = experiment.student.tuning.clone() else {
        bail!(
            "key `student.tuning` trains all weights; an adapter is imported for `[student.tuning.lora]`"
        );
    };
    experiment.student.init = None; // what is about to be made
    check_weights(&args.output)?;
    let mut inputs = inputs(&args.config, &experiment.referenced_files());
    inputs.push(args.adapter.clone());
    args.overwrite
        .check(std::slice::from_ref(&args.output), &inputs)?;
    let text_encoders = if args.without_text_encoders {
        TextEncoders::LeaveOut
    } else {
        TextEncoders::Refuse
    };
    let adapter = AdapterFile::open(&args.adapter, text_encoders)?;
    for warning in pin(&mut experiment)? {
        say_warning(Some(&warning));
    }
    check_files(&experiment.referenced_files())?;
    // Only the names and shapes of the adapter are asked for.
    let runtime = Runtime::f32(phantom::device());
    let source = open_source(&experiment, runtime)?;
    let specs = experiment.nets();
    let (_, nets) = networks(&experiment, &*source, &specs, runtime)?;
    let scaling = lora.alpha / lora.rank as f64;
    let imported = import(
        nets.store(NetId::STUDENT),
        scaling,
        experiment.seed,
        &adapter,
    )?;
    let notes = lora_notes(BTreeMap::new(), &lora);
    write_tensors(&args.output, &imported.tensors, Kind::Float, &notes)?;
    for note in &imported.notes {
        say(quiet, note);
    }
    let output = args.output.display();
    say(
        quiet,
        &format!("start from it with `--set 'student.init={output}'`"),
    );
    Ok(ExitCode::SUCCESS)
}
