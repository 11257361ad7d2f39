//! Models side by side where no truth is known: every image is scored by reward models.

use std::{collections::BTreeMap, fmt::Write as _};

use dmdr_events::Statistic;
use dmdr_rewards::{RewardModel, Settings};
use dmdr_tensor::Tensor;
use serde::Serialize;

use crate::{
    EvalError, Interval, Measured,
    diversity::Diversity,
    evaluator::values,
    fidelity::{Encoder, Features, Reference},
    set::Batch,
};

/// Name of the column of [`Diversity`].
pub(crate) const DIVERSITY: &str = "diversity";

/// Metrics, in the order of a table's columns: reward models, diversity, fidelity.
#[derive(Default)]
pub struct Rater {
    metrics: Vec<(String, f64, Box<dyn RewardModel>)>,
    pub(crate) diversity: Option<Diversity>,
    pub(crate) fidelity: Option<(Encoder, Reference)>,
}

impl std::fmt::Debug for Rater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.metrics.iter().map(|(name, ..)| name);
        f.debug_list().entries(names).finish()
    }
}

impl Rater {
    /// Adds a metric, whose scores are multiplied by `factor`.
    pub fn push(&mut self, name: &str, factor: f64, model: Box<dyn RewardModel>) {
        self.metrics.push((name.to_owned(), factor, model));
    }

    /// Name, factor and settings of what was pushed, in order.
    pub fn describe(&self) -> impl Iterator<Item = (&str, f64, Settings)> {
        let metrics = self.metrics.iter();
        metrics.map(|(name, factor, model)| (name.as_str(), *factor, model.describe()))
    }

    /// Adds how far apart the images of a prompt are; needs at least two seeds.
    pub fn measure_diversity(&mut self, diversity: Diversity) {
        self.diversity = Some(diversity);
    }

    /// Adds how near all images are to `reference`, whose features are `encoder`'s; needs [`crate::LEAST_IMAGES`].
    pub fn compare_with(&mut self, encoder: Encoder, reference: Reference) {
        self.fidelity = Some((encoder, reference));
    }

    /// Names of the metrics with a number an image or prompt.
    pub fn columns(&self) -> Vec<String> {
        let names = self.metrics.iter().map(|(name, ..)| name.clone());
        let diversity = self.diversity.as_ref().map(|_| DIVERSITY.to_owned());
        names.chain(diversity).collect()
    }

    /// Names of the metrics of sets.
    pub fn set_columns(&self) -> Vec<String> {
        let fidelity = self.fidelity.as_ref();
        fidelity.map_or_else(Vec::new, |(encoder, _)| encoder.columns())
    }

    /// What every reward model gives a batch's images.
    ///
    /// # Errors
    /// A metric that fails or gives scores that are not finite.
    pub(crate) fn score(
        &self,
        images: &Tensor,
        batch: &Batch,
    ) -> Result<Vec<(String, Vec<f64>)>, EvalError> {
        let metrics = self.metrics.iter();
        let score = |(name, factor, model): &(String, f64, Box<dyn RewardModel>)| {
            let found = values(&model.score(images, batch.prompts)?);
            let found: Vec<f64> = found.into_iter().map(|score| score * factor).collect();
            // Only those of a run on its way may leave an image out.
            if !model.may_leave_out() {
                all_finite(name, &found, batch.first)?;
            }
            Ok((name.clone(), found))
        };
        metrics.map(score).collect()
    }

    /// The metrics of all images as a set.
    ///
    /// # Errors
    /// One that is not finite.
    pub(crate) fn compare(
        &self,
        features: Vec<Features>,
    ) -> Result<BTreeMap<String, Statistic>, EvalError> {
        let Some((encoder, reference)) = &self.fidelity else {
            return Ok(BTreeMap::new());
        };
        let found = reference.compare(&Features::join(features));
        all_finite(encoder.name(), &found, 0)?;
        let found = found.into_iter().map(|value| Statistic::of(vec![value]));
        Ok(encoder.columns().into_iter().zip(found).collect())
    }
}

/// A score that is no number would make every mean none, and a kept one would stay.
pub(crate) fn all_finite(metric: &str, scores: &[f64], first: usize) -> Result<(), EvalError> {
    match scores.iter().position(|score| !score.is_finite()) {
        None => Ok(()),
        Some(place) => Err(EvalError::Score {
            metric: metric.to_owned(),
            score: scores[place],
            prompt: first + place,
        }),
    }
}

/// Models in rows, metrics in columns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RatingTable {
    /// Metrics, in the order of the columns.
    pub metrics: Vec<String>,
    /// Metrics of all images of a model as a set, in the order of the columns behind them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub set_metrics: Vec<String>,
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
    /// By metric of sets; without interval.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub of_set: BTreeMap<String, f64>,
}

impl RatingTable {
    /// Of `models`, with their names, all measured by `rater` on the same prompts and seeds.
    ///
    /// # Panics
    /// If there are none, or they were measured by other metrics or on different sets.
    pub fn new(rater: &Rater, models: &[(String, Measured)]) -> Self {
        Self::of_columns(rater.columns(), rater.set_columns(), models)
    }

    fn of_columns(
        metrics: Vec<String>,
        set_metrics: Vec<String>,
        models: &[(String, Measured)],
    ) -> Self {
        let (_, first) = &models[0];
        let row = |(index, (name, measured)): (usize, &(String, Measured))| {
            let by_metric = |value: &dyn Fn(&str) -> Vec<f64>| {
                let entry = |metric: &String| (metric.clone(), Interval::of(value(metric)));
                metrics.iter().map(entry).collect()
            };
            let of_prompts = |measured: &Measured, metric: &str| {
                over_seeds(&measured.scores[metric], measured.num_prompts)
            };
            let differences = |metric: &str| {
                let pairs = of_prompts(measured, metric)
                    .into_iter()
                    .zip(of_prompts(first, metric));
                pairs.map(|(this, first)| this - first).collect()
            };
            let of_set = |metric: &String| (metric.clone(), measured.metrics[metric].mean);
            Row {
                name: name.clone(),
                num_evaluations: measured.num_evaluations,
                guidance: measured.guidance,
                images_per_second: measured.images_per_second,
                means: by_metric(&|metric| of_prompts(measured, metric)),
                differences: if index == 0 {
                    BTreeMap::new()
                } else {
                    by_metric(&differences)
                },
                of_set: set_metrics.iter().map(of_set).collect(),
            }
        };
        let rows = models.iter().enumerate().map(row).collect();
        Self {
            metrics,
            set_metrics,
            rows,
        }
    }

    /// As Markdown: means with their intervals, then differences to the first model with theirs; metrics of sets without.
    pub fn to_markdown(&self) -> String {
        let columns = [&self.metrics[..], &self.set_metrics].concat();
        let mut text = format!(
            "| | evaluations | {} |\n{}|\n",
            columns.join(" | "),
            "|---".repeat(columns.len() + 2)
        );
        let mut line = |name: &str, evaluations: &str, cells: Vec<String>| {
            let _ = writeln!(text, "| {name} | {evaluations} | {} |", cells.join(" | "));
        };
        let cells = |of: &BTreeMap<String, Interval>, show: &dyn Fn(&Interval) -> String| {
            let shown = self.metrics.iter().map(|metric| show(&of[metric]));
            shown.collect::<Vec<_>>()
        };
        for row in &self.rows {
            let mean = |i: &Interval| format!("{:.4} [{:.4}, {:.4}]", i.mean, i.low, i.high);
            let of_set = |metric: &String| format!("{:.4}", row.of_set[metric]);
            let mut cells = cells(&row.means, &mean);
            cells.extend(self.set_metrics.iter().map(of_set));
            line(&row.name, &row.num_evaluations.to_string(), cells);
        }
        for row in self.rows[1..].iter().filter(|_| !self.metrics.is_empty()) {
            let difference =
                |i: &Interval| format!("{:+.4} [{:+.4}, {:+.4}]", i.mean, i.low, i.high);
            let name = format!("{} - {}", row.name, self.rows[0].name);
            let mut cells = cells(&row.differences, &difference);
            cells.resize(columns.len(), String::new());
            line(&name, "", cells);
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

    fn measured(scores: &[f64]) -> Measured {
        Measured {
            split: "table".to_owned(),
            num_prompts: 3,
            seeds: vec![0, 1],
            num_evaluations: 4,
            guidance: 1.0,
            metrics: BTreeMap::from([("FID".to_owned(), Statistic::of(vec![7.0]))]),
            images_per_second: 2.0,
            scores: BTreeMap::from([("clip".to_owned(), scores.to_vec())]),
        }
    }

    #[test]
    fn scores_that_are_no_numbers_are_refused() {
        assert!(all_finite("clip", &[0.5, -1.0], 0).is_ok());
        let error = all_finite("clip", &[0.5, f64::NAN], 8).expect_err("refused");
        assert!(error.to_string().contains("`clip` gave NaN for prompt 9"));
    }

    #[test]
    fn differences_are_paired_prompt_by_prompt() {
        // Prompts differ by tens, models by one: only pairs show it. Two seeds of three prompts.
        let teacher = measured(&[10.0, 20.0, 30.0, 12.0, 22.0, 32.0]);
        let student = measured(&[12.0, 22.0, 32.0, 12.0, 22.0, 32.0]);
        let models = [
            ("teacher".to_owned(), teacher),
            ("student".to_owned(), student),
        ];
        let table =
            RatingTable::of_columns(vec!["clip".to_owned()], vec!["FID".to_owned()], &models);
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
            text.contains("| student - teacher |  | +1.0000 [+1.0000, +1.0000] |  |")
                && text.contains("] | 7.0000 |"),
            "{text}"
        );
        assert_eq!(text.lines().count(), 5);
    }
}
