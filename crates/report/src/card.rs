//! The card of a weight file: how it was made, as Markdown with its curve beside it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use dmdr_events::{RunDir, atomic_write};

use crate::error::ReportError;
use crate::facts::Facts;
use crate::log::Log;
use crate::{page, sections};

/// What [`write_card`] writes for `weights`: the card and its curve.
pub fn card_files(weights: &Path) -> [PathBuf; 2] {
    ["md", "svg"].map(|extension| weights.with_extension(extension))
}

/// Writes `<weights>.md` and `<weights>.svg` beside a weight file that `run` made, and returns the former's path.
///
/// # Errors
/// A file of the run cannot be read or is not what its name says, or a file cannot be written.
pub fn write_card(run: &RunDir, weights: &Path) -> Result<PathBuf, ReportError> {
    let facts = Facts::read(run)?;
    let log = Log::new(&dmdr_events::read(run.metrics())?);
    let [card, curve] = card_files(weights);
    let chart = sections::losses(&log, facts.seed()).into_iter().next();
    if let Some(chart) = &chart {
        atomic_write(&curve, chart.standalone())?;
    }
    let curve = chart.map(|chart| (chart.title.clone(), file_name(&curve)));
    atomic_write(&card, markdown(&file_name(weights), curve, &facts, &log))?;
    Ok(card)
}

fn markdown(name: &str, curve: Option<(String, String)>, facts: &Facts, log: &Log) -> String {
    let mut text = format!("# `{name}`\n\n| | |\n|---|---|\n");
    for (key, value) in page::facts(facts, log) {
        let value = value.replace('|', "\\|");
        let quote = if key == "Command" { "`" } else { "" };
        let _ = writeln!(text, "| {key} | {quote}{value}{quote} |");
    }
    if let Some((title, file)) = curve {
        let _ = writeln!(text, "\n![{title}]({file})");
    }
    let _ = writeln!(
        text,
        "\nThe resolved configuration:\n\n```toml\n{}```",
        facts.config
    );
    text
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
