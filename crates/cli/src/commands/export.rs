//! `dmdr export`: a finished student in the formats of other tools.

use std::process::ExitCode;

use anyhow::Result;
use dmdr_tensor::Kind;
use dmdr_train::{FinishedRun, Layout, export};

use crate::{
    args::{DtypeArg, ExportArgs, LayoutArg},
    progress::print_data,
};

pub(crate) fn run(args: &ExportArgs) -> Result<ExitCode> {
    let trained = FinishedRun::open(&args.run)?;
    let layout = match args.layout {
        LayoutArg::Peft => Layout::Peft,
        LayoutArg::Comfyui => Layout::ComfyUi,
        LayoutArg::Diffusers => Layout::Diffusers,
    };
    let kind = match args.dtype {
        DtypeArg::F32 => Kind::Float,
        DtypeArg::F16 => Kind::Half,
        DtypeArg::Bf16 => Kind::BFloat16,
    };
    for file in export(&trained, layout, kind, &args.output)? {
        print_data(&file.display().to_string());
    }
    Ok(ExitCode::SUCCESS)
}
