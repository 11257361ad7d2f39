//! `dmdr-lab`: the paper's tables and figures on worlds where the truth is exact.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;
use dmdr_console::{
    environment, interrupt, neighbours,
    progress::{self, Progress, print_data, say},
};
use dmdr_events::atomic_write;
use dmdr_lab::{Effort, Lab, LabError, Picture, Report, markdown};
use dmdr_tensor::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Re-run a table or figure of arXiv 2511.13649 where the truth is known.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Which table or figure.
    name: Lab,
    /// How many training seeds each arm gets.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// A rough version in seconds, to see that it works.
    #[arg(long)]
    quick: bool,
    /// Write the page to `docs/results` as well.
    #[arg(long)]
    publish: bool,
    /// The folder in which the laboratory's own folder is made. What is finished there is not run again.
    #[arg(long, default_value = "runs/lab")]
    root: PathBuf,
    /// No progress, only results.
    #[arg(long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    neighbours::make_way(args.quiet);
    dmdr_tensor::keep_freed_memory();
    progress::tell_want_of_memory();
    match run(&args) {
        Ok(code) => code,
        Err(error) => {
            progress::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let effort = Effort {
        num_seeds: args.seeds,
        is_quick: args.quick,
    };
    let lab = args.name;
    interrupt::install();
    let mut progress = Progress::new(args.quiet, &["loss/*", "reward/*/mean"]);
    let run = lab.run(&args.root, effort, &mut progress, &mut |what| {
        say(args.quiet, what);
    });
    let report = match run {
        Err(stopped @ LabError::Interrupted) => {
            say(args.quiet, &stopped.to_string());
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        run => run?,
    };
    print_data(&markdown::table(&report.study, &report.results));
    let folder = args.root.join(lab.name());
    let page = write(&folder, &report)?;
    if args.publish {
        let page = write(Path::new("docs/results"), &report)?;
        say(args.quiet, &format!("published: {page}"));
    }
    print_data(&format!("page: {page}"));
    Ok(ExitCode::SUCCESS)
}

/// Writes the page and its pictures into `folder` and returns the page's path.
fn write(folder: &Path, report: &Report) -> Result<String> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create `{}`", folder.display()))?;
    let name = report.study.name;
    let mut pictures = Vec::new();
    for (index, (title, picture)) in report.pictures.iter().enumerate() {
        let kind = match picture {
            Picture::Pixels(_) => "png",
            Picture::Svg(_) => "svg",
        };
        let file = format!("{name}-{}.{kind}", index + 1);
        let path = folder.join(&file);
        match picture {
            Picture::Pixels(image) => image.to_png(&path)?,
            Picture::Svg(text) => atomic_write(&path, text)?,
        }
        pictures.push((title.clone(), file));
    }
    let environment = environment::detect("cpu");
    let page = markdown::page(report, &environment, &pictures);
    let path = folder.join(format!("{name}.md"));
    atomic_write(&path, page)?;
    Ok(path.display().to_string())
}
