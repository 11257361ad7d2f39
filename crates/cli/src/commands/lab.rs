//! `dmdr lab`: the paper's tables and figures on worlds where the truth is exact.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result};
use dmdr_events::atomic_write;
use dmdr_lab::{Effort, LabError, Picture, Report, markdown};

use crate::{
    args::LabArgs,
    environment, interrupt,
    progress::{Progress, print_data, say},
};

pub(crate) fn run(args: &LabArgs, quiet: bool) -> Result<ExitCode> {
    let effort = Effort {
        num_seeds: args.seeds,
        is_quick: args.quick,
    };
    let lab = args.name.lab();
    interrupt::install();
    let mut progress = Progress::new(quiet, &["loss/*", "reward/*/mean"]);
    let run = lab.run(&args.root, effort, &mut progress, &mut |what| {
        say(quiet, what);
    });
    let report = match run {
        Err(stopped @ LabError::Interrupted) => {
            say(quiet, &stopped.to_string());
            return Ok(ExitCode::from(interrupt::EXIT_CODE));
        }
        run => run?,
    };
    print_data(&markdown::table(&report.study, &report.results));
    let folder = args.root.join(lab.name());
    let page = write(&folder, &report)?;
    if args.publish {
        let page = write(Path::new("docs/results"), &report)?;
        say(quiet, &format!("published: {page}"));
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
