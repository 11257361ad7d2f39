//! `dmdr report`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use dmdr_console::progress::say;
use dmdr_events::RunDir;

use crate::args::ReportArgs;

pub(crate) fn run(args: &ReportArgs, quiet: bool) -> Result<ExitCode> {
    let run = RunDir::open(&args.run)?;
    if let Some(weights) = &args.card {
        if !weights.is_file() {
            bail!(
                "there are no weights `{}`: name a file of the run",
                weights.display()
            );
        }
        let files = dmdr_report::card_files(weights);
        args.overwrite
            .check(&files, std::slice::from_ref(weights))?;
        let card = dmdr_report::write_card(&run, weights)?;
        say(quiet, &format!("card: {}", card.display()));
    } else {
        let page = dmdr_report::write(&run)?;
        say(quiet, &format!("page: {}", page.display()));
    }
    Ok(ExitCode::SUCCESS)
}
