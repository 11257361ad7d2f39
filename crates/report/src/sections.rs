//! Which number is shown where. Every number of the log is: what no section knows is under "Other numbers".

mod quality;
mod renoise;

use std::collections::BTreeSet;

use dmdr_events::{EvalReport, Kind};
use maud::{Markup, html};

use crate::chart::Chart;
use crate::line::{Band, Line};
use crate::log::{Bin, Log, Series};
use crate::metric;
use crate::scale::Scale;

/// Charts about one thing.
pub(crate) struct Section {
    pub(crate) title: &'static str,
    about: &'static str,
    pub(crate) charts: Vec<Chart>,
}

impl Section {
    pub(crate) fn markup(&self) -> Markup {
        html! {
            section {
                h2 { (self.title) }
                @if !self.about.is_empty() { p.lead { (self.about) } }
                div.charts { @for chart in &self.charts { (chart.figure()) } }
            }
        }
    }
}

/// What every chart has to know.
pub(crate) struct Context<'a> {
    log: &'a Log,
    seed: Option<i64>,
    x: Scale,
    marks: Vec<(String, f64)>,
}

/// The sections of a run, without empty ones.
pub(crate) fn sections(log: &Log, evals: &[EvalReport], seed: Option<i64>) -> Vec<Section> {
    let context = Context::new(log, seed);
    let mut sections = vec![
        Section {
            title: "Quality during training",
            about: "Evaluated on validation prompts with fixed noise.",
            charts: quality::charts(&context, evals),
        },
        Section {
            title: "Rewards",
            about: "Of the student's samples in each update: mean, one standard deviation (dark band), smallest and largest (light band).",
            charts: rewards(&context),
        },
    ];
    for (title, about, belongs) in SIMPLE {
        let mut charts = context.singles(*belongs);
        if *title == SCHEDULES {
            charts.extend(renoise::charts(&context));
        }
        sections.push(Section {
            title,
            about,
            charts,
        });
    }
    sections.retain(|section| !section.charts.is_empty());
    sections
}

/// The losses of a run.
pub(crate) fn losses(log: &Log, seed: Option<i64>) -> Vec<Chart> {
    let context = Context::new(log, seed);
    context.singles(|kind, key| is_update(kind) && key.starts_with("loss"))
}

const SCHEDULES: &str = "Schedules";

type Belongs = fn(Kind, &str) -> bool;

/// Sections with one chart per number, by what belongs to them.
const SIMPLE: &[(&str, &str, Belongs)] = &[
    ("Losses", "", |kind, key| {
        is_update(kind) && key.starts_with("loss")
    }),
    (
        SCHEDULES,
        "What changes over training by plan.",
        |kind, key| is_update(kind) && is_schedule(key),
    ),
    ("Gradients", "", |kind, key| {
        is_update(kind) && is_gradient(key)
    }),
    ("Speed and memory", "", is_speed),
    ("Other numbers", "", |kind, key| {
        is_update(kind)
            && !["loss", "reward/", "renoise/"]
                .iter()
                .any(|start| key.starts_with(start))
            && !is_schedule(key)
            && !is_gradient(key)
            && !is_speed(kind, key)
    }),
];

fn is_update(kind: Kind) -> bool {
    kind == Kind::Train
}

fn is_schedule(key: &str) -> bool {
    matches!(
        key,
        "dm/real_scale" | "rl/weight" | "renoise/mean" | "renoise/std"
    ) || key.starts_with("lr/")
}

fn is_gradient(key: &str) -> bool {
    key.starts_with("grad_norm") || key == "dm/grad_abs"
}

fn is_speed(kind: Kind, key: &str) -> bool {
    kind == Kind::System || (is_update(kind) && key.starts_with("time/"))
}

impl<'a> Context<'a> {
    fn new(log: &'a Log, seed: Option<i64>) -> Self {
        Self {
            log,
            seed,
            x: Scale::exact(0.0, log.num_updates() as f64),
            marks: log
                .rl_start()
                .map(|update| ("reward joins".to_owned(), update))
                .into_iter()
                .collect(),
        }
    }

    fn singles(&self, belongs: Belongs) -> Vec<Chart> {
        self.log
            .iter()
            .filter(|(kind, key, _)| belongs(*kind, key))
            .map(|(_, key, series)| self.single(key, series))
            .collect()
    }

    /// One number over training, with the spread inside each drawn point.
    fn single(&self, key: &str, series: &Series) -> Chart {
        let (mut title, mut about) = metric::describe(key);
        let mut bins = series.bins();
        if key == "time/update_s" {
            (title, about) = ("Updates per second".to_owned(), "");
            bins = bins.into_iter().map(inverse).collect();
        }
        let is_grouped = series.group() > 1;
        let band = Band {
            color: 0,
            points: bins
                .iter()
                .map(|bin| (bin.update, bin.low, bin.high))
                .collect(),
        };
        let mut chart = self.chart(&title, key, self.note("updates", series));
        about.clone_into(&mut chart.about);
        chart.bands = if is_grouped { vec![band] } else { Vec::new() };
        chart.lines = vec![Line {
            name: metric::spaced(key),
            color: 0,
            points: bins.iter().map(|bin| (bin.update, bin.mean)).collect(),
            has_dots: false,
        }];
        chart.broken.clone_from(&series.broken);
        chart
    }

    /// An empty chart over the updates of the run.
    fn chart(&self, title: &str, key: &str, note: String) -> Chart {
        Chart {
            title: title.to_owned(),
            key: key.to_owned(),
            about: String::new(),
            note,
            x: self.x,
            x_label: "update",
            y: None,
            bands: Vec::new(),
            lines: Vec::new(),
            levels: Vec::new(),
            marks: self.marks.clone(),
            broken: Vec::new(),
            is_wide: false,
            has_legend: false,
        }
    }

    /// How many values, which seed, and what one point is.
    fn note(&self, what: &str, series: &Series) -> String {
        let smoothing = match series.group() {
            1 => "not smoothed".to_owned(),
            group => format!("each point the mean of {group}, band: their smallest and largest"),
        };
        let broken = match series.broken.len() {
            0 => String::new(),
            count => format!(" · {count} not finite (×)"),
        };
        let seed = self.seed_note();
        format!(
            "n = {} {what}{seed} · {smoothing}{broken}",
            series.points.len()
        )
    }

    fn seed_note(&self) -> String {
        self.seed
            .map_or_else(String::new, |seed| format!(" · seed {seed}"))
    }
}

/// Seconds per update to updates per second; the mean becomes the rate over the whole group.
fn inverse(bin: Bin) -> Bin {
    let rate = |seconds: f64| 1.0 / seconds.max(1e-9);
    Bin {
        mean: rate(bin.mean),
        low: rate(bin.high),
        high: rate(bin.low),
        ..bin
    }
}

/// One chart per reward: `reward/NAME/{mean, std, min, max}`.
fn rewards(context: &Context) -> Vec<Chart> {
    let names: BTreeSet<&str> = context
        .log
        .iter()
        .filter_map(|(_, key, _)| key.strip_prefix("reward/")?.split('/').next())
        .collect();
    names
        .into_iter()
        .filter_map(|name| reward(context, name))
        .collect()
}

fn reward(context: &Context, name: &str) -> Option<Chart> {
    let part = |part: &str| {
        context
            .log
            .get(&format!("reward/{name}/{part}"))
            .map(Series::bins)
    };
    let key = format!("reward/{name}");
    let series = context
        .log
        .get(&format!("{key}/mean"))
        .or_else(|| context.log.get(&key))?;
    let mean = series.bins();
    let mut chart = context.chart(
        &metric::describe(name).0,
        &key,
        context.note("updates", series),
    );
    let band = |low: &[f64], high: &[f64]| Band {
        color: 1,
        points: mean
            .iter()
            .zip(low.iter().zip(high))
            .map(|(bin, (low, high))| (bin.update, *low, *high))
            .collect(),
    };
    if let (Some(min), Some(max)) = (part("min"), part("max")) {
        let (low, high): (Vec<_>, Vec<_>) = (
            min.iter().map(|b| b.mean).collect(),
            max.iter().map(|b| b.mean).collect(),
        );
        chart.bands.push(band(&low, &high));
    }
    if let Some(std) = part("std") {
        let around = |sign: f64| {
            mean.iter()
                .zip(&std)
                .map(move |(m, s)| m.mean + sign * s.mean)
        };
        chart.bands.push(band(
            &around(-1.0).collect::<Vec<_>>(),
            &around(1.0).collect::<Vec<_>>(),
        ));
    }
    chart.note = chart.note.replace(", band: their smallest and largest", "");
    chart.lines = vec![Line {
        name: metric::spaced(name),
        color: 1,
        points: mean.iter().map(|bin| (bin.update, bin.mean)).collect(),
        has_dots: false,
    }];
    chart.broken.clone_from(&series.broken);
    Some(chart)
}

#[cfg(test)]
mod tests;
