//! Models side by side where no truth is known: every image is scored by reward models.

use std::{collections::BTreeMap, fmt::Write as _};

use dmdr_data::Prompts;
use dmdr_rewards::RewardModel;
use dmdr_tensor::{Device, no_grad_guard};
use serde::{Deserialize, Serialize};

use crate::{EvalError, Interval, Sampler, evaluator::values, sampling::Sampling, set::Batch};

/// Reward models as metrics, in the order of a table's columns.
#[derive(Default)]
pub struct Rater {
    metrics: Vec<(String, f64, Box<dyn RewardModel>)>,
}

impl std::fmt::Debug for Rater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.metrics.iter().map(|(name, ..)| name);
        f.debug_list().entries(names).finish()
    }
}

/// What a sampler's images were given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rated {
    /// Network evaluations an image.
    pub num_evaluations: usize,
    /// Scale of classifier-free guidance; 1 = none.
    pub guidance: f64,
    /// Speed of sampling, scoring left out.
    pub images_per_second: f64,
    /// By metric, one an image: all prompts of the first seed, then of the next.
    pub scores: BTreeMap<String, Vec<f64>>,
}

impl Rater {
    /// Adds a metric, whose scores are multiplied by `factor`.
    pub fn push(&mut self, name: &str, factor: f64, model: Box<dyn RewardModel>) {
        self.metrics.push((name.to_owned(), factor, model));
    }

    /// Lets `sampler` draw `batches` of prompts once for each of `seeds`, from noise of shape `noise` `[C, H, W]` on `device`,
    /// and scores the images. `progress` is told (images done, of) after every batch.
    ///
    /// Results are a pure function of sampler, prompts, their batches and seeds; libtorch's random state is left changed.
    ///
    /// # Errors
    /// A sampler that fails or makes pixels that are not finite; a metric that fails.
    pub fn rate(
        &self,
        sampler: &dyn Sampler,
        batches: Vec<Prompts>,
        seeds: &[u64],
        (noise, device): ([i64; 3], Device),
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Rated, EvalError> {
        let num_images = batches.iter().map(Prompts::len).sum::<usize>() * seeds.len();
        let batches: Vec<Batch> = batches
            .into_iter()
            .scan(0, |first, prompts| {
                let batch = Batch {
                    first: *first,
                    prompts,
                };
                *first += batch.prompts.len();
                Some(batch)
            })
            .collect();
        let mut sampling = Sampling::new(sampler, noise, device);
        let mut scores: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        let mut num_done = 0;
        for &seed in seeds {
            for batch in &batches {
                let images = sampling.images(batch, seed)?;
                let _no_grad = no_grad_guard();
                for (name, factor, model) in &self.metrics {
                    let found = values(&model.score(&images, &batch.prompts)?);
                    let column = scores.entry(name.clone()).or_default();
                    column.extend(found.into_iter().map(|score| score * factor));
                }
                num_done += batch.prompts.len();
                progress(num_done, num_images);
            }
        }
        Ok(Rated {
            num_evaluations: sampler.num_evaluations(),
            guidance: sampler.guidance(),
            images_per_second: sampling.images_per_second(),
            scores,
        })
    }
}

/// Models in rows, metrics in columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RatingTable {
    /// Metrics, in the order of the columns.
    pub metrics: Vec<String>,
    /// Models.
    pub rows: Vec<Row>,
}

/// A model's means over prompts, each prompt's being the mean over its seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The model.
    pub name: String,
    /// Network evaluations an image.
    pub num_evaluations: usize,
    /// Scale of classifier-free guidance; 1 = none.
    pub guidance: f64,
    /// Speed of sampling.
    pub images_per_second: f64,
    /// By metric.
    pub means: BTreeMap<String, Interval>,
    /// What it is above the first model, image by image (paired bootstrap); empty for that one.
    pub differences: BTreeMap<String, Interval>,
}

impl RatingTable {
    /// Of `models`, with their names, all rated on the same `num_prompts` prompts and seeds.
    ///
    /// # Panics
    /// If there are none, or they were rated by other metrics than `metrics` or on different sets.
    pub fn new(metrics: Vec<String>, models: &[(String, Rated)], num_prompts: usize) -> Self {
        let (_, first) = &models[0];
        let row = |(index, (name, rated)): (usize, &(String, Rated))| {
            let by_metric = |value: &dyn Fn(&str) -> Vec<f64>| {
                let entry = |metric: &String| (metric.clone(), Interval::of(value(metric)));
                metrics.iter().map(entry).collect()
            };
            let of_prompts =
                |rated: &Rated, metric: &str| over_seeds(&rated.scores[metric], num_prompts);
            let differences = |metric: &str| {
                let pairs = of_prompts(rated, metric)
                    .into_iter()
                    .zip(of_prompts(first, metric));
                pairs.map(|(this, first)| this - first).collect()
            };
            Row {
                name: name.clone(),
                num_evaluations: rated.num_evaluations,
                guidance: rated.guidance,
                images_per_second: rated.images_per_second,
                means: by_metric(&|metric| of_prompts(rated, metric)),
                differences: if index == 0 {
                    BTreeMap::new()
                } else {
                    by_metric(&differences)
                },
            }
        };
        let rows = models.iter().enumerate().map(row).collect();
        Self { metrics, rows }
    }

    /// As Markdown: means with their intervals, then differences to the first model with theirs.
    pub fn to_markdown(&self) -> String {
        let mut text = format!(
            "| | evaluations | {} |\n{}|\n",
            self.metrics.join(" | "),
            "|---".repeat(self.metrics.len() + 2)
        );
        let mut line = |name: &str, evaluations: &str, cells: Vec<String>| {
            let _ = writeln!(text, "| {name} | {evaluations} | {} |", cells.join(" | "));
        };
        let cells = |of: &BTreeMap<String, Interval>, show: &dyn Fn(&Interval) -> String| {
            self.metrics
                .iter()
                .map(|metric| show(&of[metric]))
                .collect()
        };
        for row in &self.rows {
            let mean = |i: &Interval| format!("{:.4} [{:.4}, {:.4}]", i.mean, i.low, i.high);
            line(
                &row.name,
                &row.num_evaluations.to_string(),
                cells(&row.means, &mean),
            );
        }
        for row in &self.rows[1..] {
            let difference =
                |i: &Interval| format!("{:+.4} [{:+.4}, {:+.4}]", i.mean, i.low, i.high);
            let name = format!("{} - {}", row.name, self.rows[0].name);
            line(&name, "", cells(&row.differences, &difference));
        }
        text
    }
}

/// Each prompt's mean over the seeds.
fn over_seeds(scores: &[f64], num_prompts: usize) -> Vec<f64> {
    let num_seeds = scores.len() / num_prompts;
    assert_eq!(
        scores.len(),
        num_prompts * num_seeds,
        "one score a prompt and seed"
    );
    (0..num_prompts)
        .map(|prompt| {
            let of_prompt = scores.iter().skip(prompt).step_by(num_prompts);
            of_prompt.sum::<f64>() / num_seeds as f64
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rated(scores: &[f64]) -> Rated {
        Rated {
            num_evaluations: 4,
            guidance: 1.0,
            images_per_second: 2.0,
            scores: BTreeMap::from([("clip".to_owned(), scores.to_vec())]),
        }
    }

    #[test]
    fn differences_are_paired_prompt_by_prompt() {
        // Prompts differ by tens, models by one: only pairs show it. Two seeds of three prompts.
        let teacher = rated(&[10.0, 20.0, 30.0, 12.0, 22.0, 32.0]);
        let student = rated(&[12.0, 22.0, 32.0, 12.0, 22.0, 32.0]);
        let models = [
            ("teacher".to_owned(), teacher),
            ("student".to_owned(), student),
        ];
        let table = RatingTable::new(vec!["clip".to_owned()], &models, 3);
        let [teacher, student] = &table.rows[..] else {
            panic!("two rows")
        };
        assert!((teacher.means["clip"].mean - 21.0).abs() < 1e-12);
        assert!(teacher.differences.is_empty());
        let difference = student.differences["clip"];
        assert_eq!(
            (difference.mean, difference.low, difference.high),
            (1.0, 1.0, 1.0)
        );
        let text = table.to_markdown();
        assert!(
            text.contains("| student - teacher |  | +1.0000 [+1.0000, +1.0000] |"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 5);
    }
}
