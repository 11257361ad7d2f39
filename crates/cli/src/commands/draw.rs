//! A benchmark's images, drawn once.

use std::path::Path;

use anyhow::Result;
use dmdr_eval::Sampler;
use dmdr_train::FinishedRun;
use dmdr_world::Image;

use crate::{
    args::{DrawArgs, DrawerArg},
    progress::Counter,
};

/// One prompt's images: are they there, and where they go.
pub(crate) trait Place {
    /// Whether all are there.
    fn is_filled(&self) -> bool;

    /// Puts them there.
    ///
    /// # Errors
    /// If they cannot be written.
    fn fill(&self, images: &[Image]) -> Result<()>;
}

/// Draws `count` images of every caption whose place is not filled. Does nothing without a run.
pub(crate) fn draw<P: Place>(
    args: &DrawArgs,
    prompts: &[(String, P)],
    count: usize,
    quiet: bool,
) -> Result<()> {
    let missing: Vec<_> = prompts
        .iter()
        .filter(|(_, place)| !place.is_filled())
        .collect();
    let Some(run) = args.run.as_deref().filter(|_| !missing.is_empty()) else {
        return Ok(());
    };
    let trained = FinishedRun::open(run)?;
    let (teacher, student) = (trained.teacher(), trained.student());
    let sampler: &dyn Sampler = match args.who {
        DrawerArg::Teacher => &teacher,
        DrawerArg::Student => &student,
    };
    let captions: Vec<String> = missing.iter().map(|(caption, _)| caption.clone()).collect();
    trained.source.prepare(&captions)?;
    let mut counter = Counter::new(quiet, &format!("{}'s images", sampler.name()));
    for (index, (caption, place)) in missing.iter().enumerate() {
        place.fill(&trained.draw(sampler, caption, args.seed, count)?)?;
        counter.update((index + 1) * count, missing.len() * count);
    }
    Ok(())
}

/// The error for a first image that neither is there nor is drawn.
pub(crate) fn missing(path: &Path) -> anyhow::Error {
    anyhow::anyhow!(
        "there is no image `{}`: give `--run RUN` to draw what is missing",
        path.display()
    )
}
