//! `dmdr report`.

use std::process::ExitCode;

use anyhow::Result;
use dmdr_events::RunDir;

use crate::{args::ReportArgs, progress::say};

pub(crate) fn run(args: &ReportArgs, quiet: bool) -> Result<ExitCode> {
    let page = dmdr_report::write(&RunDir::open(&args.run)?)?;
    say(quiet, &format!("page: {}", page.display()));
    Ok(ExitCode::SUCCESS)
}
