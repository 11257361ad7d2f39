//! Evaluation reports side by side, as aligned text or Markdown.

use std::collections::BTreeSet;

use crate::eval::{EvalReport, Statistic};

/// One row per report, columns aligned with spaces, for a terminal.
pub fn table(reports: &[EvalReport]) -> String {
    let rows = cells(reports);
    let widths = widths(&rows);
    let mut text = String::new();
    for row in &rows {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(column, (cell, width))| pad(cell, *width, column))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// One row per report, as a Markdown table.
pub fn markdown(reports: &[EvalReport]) -> String {
    let rows = cells(reports);
    let widths = widths(&rows);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let cell = cell.replace('|', "\\|");
            text.push_str("| ");
            text.push_str(&pad(&cell, *width, column));
            text.push(' ');
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let (dashes, end) = if is_text(column) {
                    (*width + 2, "")
                } else {
                    (*width + 1, ":")
                };
                text.push('|');
                text.push_str(&"-".repeat(dashes));
                text.push_str(end);
            }
            text.push_str("|\n");
        }
    }
    text
}

/// The header and the rows. A metric that a report lacks is a dash.
fn cells(reports: &[EvalReport]) -> Vec<Vec<String>> {
    let metrics: BTreeSet<&str> = reports
        .iter()
        .flat_map(|report| report.metrics.keys().map(String::as_str))
        .collect();
    let mut header: Vec<String> = ["what", "split", "NFE", "guidance", "prompts", "seeds"]
        .map(str::to_owned)
        .to_vec();
    header.extend(metrics.iter().map(ToString::to_string));
    header.push("images/s".to_owned());
    let mut rows = vec![header];
    for report in reports {
        let mut row = vec![
            report.what.clone(),
            report.split.clone(),
            report.num_evaluations.to_string(),
            format!("{}", report.guidance),
            report.num_prompts.to_string(),
            report.seeds.len().to_string(),
        ];
        row.extend(metrics.iter().map(|name| {
            report
                .metrics
                .get(*name)
                .map_or_else(|| "-".to_owned(), statistic)
        }));
        row.push(format!("{:.1}", report.images_per_second));
        rows.push(row);
    }
    rows
}

/// `0.123 ± 0.004`; without a deviation when there is one seed.
fn statistic(statistic: &Statistic) -> String {
    let digits = if statistic.mean.abs() >= 100.0 { 1 } else { 4 };
    if statistic.per_seed.len() > 1 {
        format!("{:.digits$} ± {:.digits$}", statistic.mean, statistic.std)
    } else {
        format!("{:.digits$}", statistic.mean)
    }
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.first().map_or(0, Vec::len);
    (0..columns)
        .map(|column| {
            rows.iter()
                .map(|row| row[column].replace('|', "\\|").chars().count())
                .max()
                .unwrap_or(0)
                .max(3)
        })
        .collect()
}

/// The first two columns are words, the others numbers.
fn is_text(column: usize) -> bool {
    column < 2
}

fn pad(cell: &str, width: usize, column: usize) -> String {
    if is_text(column) {
        format!("{cell:<width$}")
    } else {
        format!("{cell:>width$}")
    }
}

#[cfg(test)]
mod tests;
