//! `dmdr`: distribution matching distillation together with reinforcement learning.

mod args;
mod commands;
mod output;

use std::process::ExitCode;

use clap::Parser;
use dmdr_console::progress;
use dmdr_tensor::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let args = args::Args::parse();
    dmdr_tensor::keep_freed_memory();
    progress::tell_want_of_memory();
    match commands::run(&args) {
        Ok(code) => code,
        Err(error) => {
            progress::print_error(&error);
            ExitCode::FAILURE
        }
    }
}
