//! `dmdr export`: a finished student in the formats of other tools.

use std::process::ExitCode;

use anyhow::Result;
use dmdr_console::progress::print_data;
use dmdr_tensor::Kind;
use dmdr_train::{FinishedRun, export};

use crate::{
    args::{DtypeArg, ExportArgs},
    output::inputs_of_run,
};

pub(crate) fn run(args: &ExportArgs) -> Result<ExitCode> {
    let layout = args.layout;
    let files: Vec<_> = layout
        .files()
        .iter()
        .map(|file| args.output.join(file))
        .collect();
    args.overwrite.check(&files, &inputs_of_run(&args.run)?)?;
    let kind = match args.dtype {
        DtypeArg::F32 => Kind::Float,
        DtypeArg::F16 => Kind::Half,
        DtypeArg::Bf16 => Kind::BFloat16,
    };
    let trained = FinishedRun::open(&args.run)?;
    for file in export(&trained, layout, kind, &args.output)? {
        print_data(&file.display().to_string());
    }
    Ok(ExitCode::SUCCESS)
}
