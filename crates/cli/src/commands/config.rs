//! `dmdr config`.

use std::process::ExitCode;

use anyhow::Result;
use dmdr_config::Document;
use dmdr_console::progress::print_data;

use super::check_files;
use crate::args::ConfigCommand;

pub(crate) fn run(command: &ConfigCommand) -> Result<ExitCode> {
    let (ConfigCommand::Show(args) | ConfigCommand::Check(args)) = command;
    let document = Document::load(&args.config, &args.set)?;
    match command {
        ConfigCommand::Show(_) => print_data(document.to_toml().trim_end()),
        ConfigCommand::Check(_) => {
            check_files(&document.referenced_files())?;
            for warning in document.warnings() {
                print_data(&format!("warning: {warning}"));
            }
            print_data(&format!("{} is a valid config", args.config.display()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
