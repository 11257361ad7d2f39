//! A run folder becomes one HTML page that needs nothing else: no network, no library, no second file.
//!
//! [`write()`] reads what a run left behind (`dmdr_events`): its configuration, machine, records,
//! evaluation reports and sheets of samples. Everything is optional but the folder itself, and every
//! number that was logged is shown, known or not. Charts are pure functions from records to SVG; each
//! one states how many values it shows, the seed, and what was averaged.
//!
//! The charts are our own 300 lines and not a plotting library's, because they follow the page's light
//! and dark colours through CSS variables, carry bands and labels at the line ends, and stay text.

mod beta;
mod card;
mod chart;
mod curves;
mod error;
mod facts;
mod frame;
mod hover;
mod line;
mod log;
mod metric;
mod number;
mod page;
mod samples;
mod scale;
mod sections;
mod style;
mod table;

use std::fs;
use std::path::PathBuf;

use dmdr_events::{RunDir, atomic_write};

pub use card::{card_files, write_card};
pub use curves::{Curve, curves};
pub use error::ReportError;

/// Writes `report/index.html` of a run, replacing an older one, and returns its path.
///
/// # Errors
/// A file of the run cannot be read or is not what its name says, or the page cannot be written.
pub fn write(run: &RunDir) -> Result<PathBuf, ReportError> {
    let html = render(run)?;
    let path = run.report();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(ReportError::io("create", folder))?;
    }
    atomic_write(&path, html)?;
    Ok(path)
}

/// The page as text; nothing is written.
///
/// # Errors
/// A file of the run cannot be read or is not what its name says.
pub fn render(run: &RunDir) -> Result<String, ReportError> {
    let facts = facts::Facts::read(run)?;
    let log = log::Log::new(&dmdr_events::read(run.metrics())?);
    let evals: Vec<_> = run
        .list_evals()?
        .into_iter()
        .map(|(_, report)| report)
        .collect();
    let sheets = samples::Sheets::read(run)?;
    Ok(page::page(&facts, &log, &evals, &sheets).into_string())
}
