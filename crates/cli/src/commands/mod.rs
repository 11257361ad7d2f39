//! One file a command.

mod pretrain;

use std::process::ExitCode;

use anyhow::Result;

use crate::args::{Args, Command};

/// Dispatches.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Command::Pretrain(run) => pretrain::run(run, args.quiet),
    }
}
