//! `DynaRS`: from which noise levels the student is corrected, as logged in `renoise/a` and `renoise/b`.

use super::Context;
use crate::beta::Beta;
use crate::chart::Chart;
use crate::line::{Band, Line};
use crate::scale::Scale;

/// Points over training at which quantiles are drawn.
const NUM_QUANTILES: usize = 80;
const NUM_DENSITIES: usize = 4;
/// No density is drawn higher: a Beta with a parameter below 1 has none at its end.
const HIGHEST: f64 = 6.0;

pub(super) fn charts(context: &Context) -> Vec<Chart> {
    let Some((a, b)) = context
        .log
        .get("renoise/a")
        .zip(context.log.get("renoise/b"))
    else {
        return Vec::new();
    };
    let betas: Vec<(f64, Beta)> = a
        .points
        .iter()
        .filter_map(|(update, a)| Some((*update, Beta::new(*a, b.at(*update)?)?)))
        .collect();
    if betas.is_empty() {
        return Vec::new();
    }
    vec![quantiles(context, &betas), densities(context, &betas)]
}

fn quantiles(context: &Context, betas: &[(f64, Beta)]) -> Chart {
    let chosen: Vec<(f64, Beta)> = spread(betas.len(), NUM_QUANTILES)
        .map(|index| betas[index])
        .collect();
    let at = |p: f64| {
        chosen
            .iter()
            .map(move |(update, beta)| (*update, beta.quantile(p)))
    };
    let band = |low: f64, high: f64| Band {
        color: 2,
        points: at(low)
            .zip(at(high))
            .map(|((update, low), (_, high))| (update, low, high))
            .collect(),
    };
    let note = format!(
        "n = {} updates{} · exact quantiles of Beta(a, b)",
        betas.len(),
        context.seed_note()
    );
    let mut chart = context.chart("Renoising times", "renoise/a, renoise/b", note);
    "DynaRS: median, middle half and middle 90 % of t; t = 1 is pure noise"
        .clone_into(&mut chart.about);
    chart.y = Some(Scale::exact(0.0, 1.0));
    chart.bands = vec![band(0.05, 0.95), band(0.25, 0.75)];
    chart.lines = vec![Line {
        name: "median t".to_owned(),
        color: 2,
        points: at(0.5).collect(),
        has_dots: false,
    }];
    chart
}

/// The density at the start, at the end of the change, and between.
fn densities(context: &Context, betas: &[(f64, Beta)]) -> Chart {
    let last = betas[betas.len() - 1].1;
    let settled = betas
        .iter()
        .position(|(_, beta)| *beta == last)
        .unwrap_or(0);
    let times = || (1..100).map(|percent| f64::from(percent) / 100.0);
    let chosen: Vec<usize> = spread(settled + 1, NUM_DENSITIES).collect();
    let note = format!(
        "{} of n = {} updates{} · exact densities",
        chosen.len(),
        betas.len(),
        context.seed_note()
    );
    let mut chart = context.chart("Density of renoising times", "renoise/a, renoise/b", note);
    chart.marks.clear();
    chart.has_legend = true;
    chart.x = Scale::exact(0.0, 1.0);
    chart.x_label = "t";
    let highest = chosen
        .iter()
        .flat_map(|index| times().map(|t| betas[*index].1.density(t)))
        .fold(1.0, f64::max);
    chart.y = Some(Scale::exact(0.0, (1.05 * highest).min(HIGHEST)));
    chart.lines = chosen
        .into_iter()
        .enumerate()
        .map(|(color, index)| Line {
            name: format!("update {}", betas[index].0),
            color: 2 + color,
            points: times().map(|t| (t, betas[index].1.density(t))).collect(),
            has_dots: false,
        })
        .collect();
    chart
}

/// At most `count` indices below `len`, evenly spread, with both ends.
fn spread(len: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(len);
    (0..count).map(move |index| {
        if count == 1 {
            0
        } else {
            index * (len - 1) / (count - 1)
        }
    })
}
