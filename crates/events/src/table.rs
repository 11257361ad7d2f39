//! Evaluation reports side by side, as aligned text.

use std::collections::BTreeSet;

use crate::eval::{EvalReport, Statistic};

/// One column per report, aligned with spaces, for a terminal.
pub fn table(reports: &[EvalReport]) -> String {
    let columns = cells(reports);
    let widths: Vec<usize> = columns
        .iter()
        .map(|cells| {
            cells
                .iter()
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in 0..columns[0].len() {
        let name = format!("{:<width$}", columns[0][row], width = widths[0]);
        let values = columns.iter().zip(&widths).skip(1);
        let values = values.map(|(cells, width)| format!("  {:>width$}", cells[row]));
        let line: String = std::iter::once(name).chain(values).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The names, then a column a report. A metric that a report lacks is a dash.
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
    let mut columns = vec![header];
    for report in reports {
        let mut column = vec![
            report.what.clone(),
            report.split.clone(),
            report.num_evaluations.to_string(),
            format!("{}", report.guidance),
            report.num_prompts.to_string(),
            report.seeds.len().to_string(),
        ];
        column.extend(metrics.iter().map(|name| {
            report
                .metrics
                .get(*name)
                .map_or_else(|| "-".to_owned(), statistic)
        }));
        column.push(format!("{:.1}", report.images_per_second));
        columns.push(column);
    }
    columns
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

#[cfg(test)]
mod tests;
