//! What was typed.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand};

/// Distils a diffusion model into a few-step generator with reinforcement learning (DMDR, arXiv 2511.13649).
#[derive(Debug, Parser)]
#[command(name = "dmdr", version, propagate_version = true)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// No progress bar; messages only when something is wrong.
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a network of the emoji world: teacher, World-CLIP or a preference model.
    Pretrain(RunArgs),
}

/// A training run.
#[derive(Debug, ClapArgs)]
pub(crate) struct RunArgs {
    /// The experiment, a TOML file.
    pub(crate) config: PathBuf,
    /// Override a key: `--set optim.lr=1e-4`; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Folder the run's folder is made in.
    #[arg(long, default_value = "runs")]
    pub(crate) root: PathBuf,
    /// Continue from the newest checkpoint.
    #[arg(long)]
    pub(crate) resume: bool,
    /// Where to copy the finished weights.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}
