//! The scores of a set of judged images: the official `summary_scores.py`.

use std::collections::{BTreeMap, HashMap};

use dmdr_events::Statistic;
use serde::{Deserialize, Serialize};

use super::{GenEvalError, ImageResult, Tag};

/// All scores, each in `[0, 1]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of images.
    pub num_images: usize,
    /// Number of prompts: of different metadata.
    pub num_prompts: usize,
    /// Part of the images that are correct.
    pub images: f64,
    /// Part of the prompts with *any* correct image.
    pub prompts: f64,
    /// Tasks in the order of their first image.
    pub tasks: Vec<TaskScore>,
    /// GenEval's score: the plain mean over the tasks, whatever the number of their images.
    pub overall: f64,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskScore {
    /// Which.
    pub tag: Tag,
    /// Its correct images.
    pub correct: usize,
    /// All of its images.
    pub total: usize,
}

impl TaskScore {
    /// Part of the images that are correct, in `[0, 1]`.
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.total as f64
    }
}

impl Summary {
    /// Sums up.
    ///
    /// # Errors
    /// No results.
    pub fn new(results: &[ImageResult]) -> Result<Self, GenEvalError> {
        if results.is_empty() {
            return Err(GenEvalError::Empty);
        }
        let mut prompts: HashMap<&str, bool> = HashMap::new();
        let mut tasks: Vec<TaskScore> = Vec::new();
        for result in results {
            *prompts.entry(&result.metadata).or_default() |= result.correct;
            let place = tasks.iter().position(|task| task.tag == result.tag);
            let place = place.unwrap_or_else(|| {
                let tag = result.tag;
                tasks.push(TaskScore {
                    tag,
                    correct: 0,
                    total: 0,
                });
                tasks.len() - 1
            });
            tasks[place].correct += usize::from(result.correct);
            tasks[place].total += 1;
        }
        let part = |count: usize, of: usize| count as f64 / of as f64;
        let num_correct = tasks.iter().map(|task| task.correct).sum();
        let num_solved = prompts.values().filter(|&&correct| correct).count();
        Ok(Self {
            num_images: results.len(),
            num_prompts: prompts.len(),
            images: part(num_correct, results.len()),
            prompts: part(num_solved, prompts.len()),
            overall: tasks.iter().map(TaskScore::accuracy).sum::<f64>() / tasks.len() as f64,
            tasks,
        })
    }

    /// As metrics: `geneval/overall` and every task, with its value over each prompt's first image, second and so on.
    /// `results` are those of the summary, `samples` images of each prompt, prompt by prompt.
    ///
    /// # Errors
    /// Fewer results than samples.
    pub fn metrics(
        &self,
        results: &[ImageResult],
        samples: usize,
    ) -> Result<BTreeMap<String, Statistic>, GenEvalError> {
        let mut by_name: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for sample in 0..samples {
            let of_sample = results.iter().skip(sample).step_by(samples);
            for (name, value) in Self::new(&of_sample.cloned().collect::<Vec<_>>())?.accuracies() {
                by_name.entry(name).or_default().push(value);
            }
        }
        let metric = |(name, mean)| {
            let per_seed = by_name.remove(&name).unwrap_or_default();
            let per_seed = Statistic::of(per_seed);
            (name, Statistic { mean, ..per_seed })
        };
        Ok(self.accuracies().map(metric).collect())
    }

    /// Of all tasks and of each.
    fn accuracies(&self) -> impl Iterator<Item = (String, f64)> {
        let tasks = self.tasks.iter();
        let tasks = tasks.map(|task| (format!("geneval/{}", task.tag), task.accuracy()));
        std::iter::once(("geneval/overall".to_owned(), self.overall)).chain(tasks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(tag: Tag, prompt: &str, correct: bool) -> ImageResult {
        ImageResult {
            filename: String::new(),
            tag,
            prompt: prompt.to_owned(),
            correct,
            reason: String::new(),
            metadata: prompt.to_owned(),
            details: String::new(),
        }
    }

    #[test]
    fn tasks_weigh_the_same_and_one_good_image_makes_a_prompt() {
        let results = [
            result(Tag::Counting, "a", false),
            result(Tag::Counting, "a", true),
            result(Tag::Counting, "b", false),
            result(Tag::Counting, "b", false),
            result(Tag::Colors, "c", true),
        ];
        let summary = Summary::new(&results).expect("not empty");
        assert_eq!((summary.num_images, summary.num_prompts), (5, 3));
        assert_eq!((summary.images, summary.prompts), (0.4, 2.0 / 3.0));
        assert!((summary.overall - f64::midpoint(0.25, 1.0)).abs() < 1e-12);
        let tags: Vec<Tag> = summary.tasks.iter().map(|task| task.tag).collect();
        assert_eq!(tags, [Tag::Counting, Tag::Colors]);
        Summary::new(&[]).expect_err("nothing to sum up");

        let results = &results[..4];
        let summary = Summary::new(results).expect("not empty");
        let metrics = summary.metrics(results, 2).expect("two of each prompt");
        assert_eq!(metrics.len(), 2);
        for name in ["geneval/overall", "geneval/counting"] {
            let Statistic { mean, per_seed, .. } = &metrics[name];
            assert_eq!((*mean, &per_seed[..]), (0.25, &[0.0, 0.5][..]));
        }
        summary
            .metrics(results, 5)
            .expect_err("fewer than five images");
    }
}
